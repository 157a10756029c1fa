"""``mnemotomy bench generative``: digits erased from an autoencoder, attributes from one that draws faces."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from mnemotomy.cli.outcome import emit_json, json_option, one_line_errors
from mnemotomy.core.files import write_text


class Scale(enum.StrEnum):
    """How much is run."""

    TINY = "tiny"
    SMALL = "small"
    PAPER = "paper"


@one_line_errors()
def generative(
    scale: Annotated[
        Scale, typer.Option(help="tiny: 8×8 digits, few faces, under 2 minutes; small: MNIST, more faces; paper: GPU.")
    ] = Scale.SMALL,
    out: Annotated[Path, typer.Option(help="For results, models and figures; what is there is not run again.")] = Path(
        "runs/bench/generative"
    ),
    data: Annotated[
        Path | None, typer.Option(help="The folder with mnist/ and celeba/; MNEMOTOMY_DATA by default.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="In place of the scale's; may be repeated.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="digits, faces, or a method of the digits (then no figures); may be repeated."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Processes at a time, a core each is best; seconds are then taken beside others.")
    ] = 1,
    figures: Annotated[bool, typer.Option(help="Whether to draw.")] = True,
    json_: Annotated[str | None, json_option("the records")] = None,
) -> None:
    """Erase digits from an autoencoder, and erase, amplify and combine attributes of faces; measure what else changes.

    \b
    Example:
      mnemotomy bench generative --scale tiny
      mnemotomy bench generative --scale tiny --only digits --json -
      mnemotomy bench generative --scale small --only digits --data ../shared/data
      mnemotomy bench generative --scale small --jobs 2
    """
    import json

    from rich.console import Console

    from mnemotomy_bench.generative.run import draw_generative, fill, run_generative
    from mnemotomy_bench.generative.show import write_tables
    from mnemotomy_bench.generative.table import print_records

    names = only or []
    if jobs > 1:
        fill(out, jobs=jobs, scale=scale.value, seeds=seed, only=names, data=data)
    records = run_generative(out, scale=scale.value, seeds=seed, only=names, data=data)
    write_text(out / "generative.json", json.dumps(records, indent=1))
    write_tables(records, out)
    if figures:
        draw_generative(records, out, scale=scale.value, seeds=seed, only=names, data=data)
    if json_ is not None:
        emit_json(records, json_)
    if json_ != "-":
        print_records(records, Console())
