"""``mnemotomy bench decouple``: facts moved out of a model into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnemotomy.cli.outcome import one_line_errors
from mnemotomy_bench.cli.options import Facts, FactScale, Json, Model, Only, Seeds, keep, show


@one_line_errors()
def decouple(
    scale: Facts = FactScale.SMALL,
    model: Model = None,
    out: Annotated[Path, typer.Option(help="The folder of 'bench metabolism'; its models are reused.")] = Path(
        "runs/bench/metabolism"
    ),
    seed: Seeds = None,
    only: Only = None,
    facts: Annotated[
        int | None,
        typer.Option(min=1, help="In the store of a pretrained model: filled up with the countries of large cities."),
    ] = None,
    json_: Json = None,
) -> None:
    """Move 15 facts from a model into a store, then change and delete them in the store.

    \b
    Example:
      mnemotomy bench decouple --scale tiny
      mnemotomy bench decouple --json -
      mnemotomy bench decouple --model MODEL --scale full --only "RLCP from subjects" --facts 1000
    """
    from mnemotomy_bench.metabolism.decouple import MODELS, run_decouple
    from mnemotomy_bench.metabolism.decouple_show import table_of

    records = run_decouple(out, scale=scale.value, model=model, seeds=seed, models=only or MODELS, facts=facts)
    keep(records, out / "decouple.json")
    show(records, json_, table_of(records).print)
