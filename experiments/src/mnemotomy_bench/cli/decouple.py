"""``mnemotomy bench decouple``: facts moved out of a model into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnemotomy.cli.outcome import emit_json, json_option, one_line_errors
from mnemotomy.core.files import write_text
from mnemotomy_bench.cli.metabolism import Scale


@one_line_errors()
def decouple(
    scale: Annotated[Scale, typer.Option(help="tiny: one seed, under 4 minutes; small: five seeds.")] = Scale.SMALL,
    model: Annotated[str | None, typer.Option(help="A folder or a hub id in place of the small world's model.")] = None,
    out: Annotated[Path, typer.Option(help="That of 'bench metabolism', whose models are taken where there.")] = Path(
        "runs/bench/metabolism"
    ),
    seed: Annotated[list[int] | None, typer.Option(help="In place of the scale's; may be repeated.")] = None,
    json_: Annotated[str | None, json_option("the records")] = None,
) -> None:
    """Put 15 facts into a store, take them out of the model, then change and delete them in the store.

    \b
    Example:
      mnemotomy bench decouple --scale tiny
      mnemotomy bench decouple --json -
    """
    import json

    from rich.console import Console

    from mnemotomy_bench.metabolism.decouple import run_decouple
    from mnemotomy_bench.metabolism.decouple_show import table_of

    records = run_decouple(out, scale=scale.value, model=model, seeds=seed)
    write_text(out / "decouple.json", json.dumps(records, indent=1))
    if json_ is not None:
        emit_json(records, json_)
    if json_ != "-":
        table_of(records).print(Console())
