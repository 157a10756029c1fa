"""``mnemotomy bench metabolism``: RLCP, its baselines and ablations, and the forms that work."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Annotated

import typer

from mnemotomy.cli.outcome import emit_json, json_option, one_line_errors
from mnemotomy.core.files import write_text


class Scale(enum.StrEnum):
    """How much is run."""

    TINY = "tiny"
    SMALL = "small"
    FULL = "full"


@one_line_errors()
def metabolism(
    scale: Annotated[Scale, typer.Option(help="tiny: one seed, under 4 minutes; small: five seeds.")] = Scale.SMALL,
    model: Annotated[str | None, typer.Option(help="A folder or a hub id in place of the small world's model.")] = None,
    out: Annotated[Path, typer.Option(help="For results, models and figures; what is there is not run again.")] = Path(
        "runs/bench/metabolism"
    ),
    seed: Annotated[list[int] | None, typer.Option(help="In place of the scale's; may be repeated.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="A configuration by its name; may be repeated.")] = None,
    figures: Annotated[bool, typer.Option(help="Whether to draw, and to measure what the figures show.")] = True,
    json_: Annotated[str | None, json_option("the records")] = None,
) -> None:
    """Take 15 facts out of a model with every configuration, and measure what it recalls, reads and keeps.

    \b
    Example:
      mnemotomy bench metabolism --scale tiny
      mnemotomy bench metabolism --json - --only "A original" --only "RLCP stable"
      mnemotomy bench metabolism --model Qwen/Qwen2.5-0.5B-Instruct --scale full
    """
    import json

    from rich.console import Console

    from mnemotomy_bench.metabolism.configurations import ORIGINAL, plan_of
    from mnemotomy_bench.metabolism.run import run_mechanism, run_metabolism
    from mnemotomy_bench.metabolism.show import table_of, write_figures

    records = run_metabolism(out, scale=scale.value, model=model, seeds=seed, only=only or ())
    write_text(out / "metabolism.json", json.dumps(records, indent=1))
    if figures:
        shown = [record["configuration"] for record in records]
        wanted = (ORIGINAL, "B just-RAG", "RLCP, rate 0.0003", "RLCP stable", "RLCP from engram")
        names = [name for name in wanted if name in shown and (scale != Scale.TINY or name in (ORIGINAL, wanted[3]))]
        data = Path(os.environ["MNEMOTOMY_DATA"]) if "MNEMOTOMY_DATA" in os.environ else None
        first = (seed or plan_of(scale.value).seeds)[0]
        mechanism = run_mechanism(out, names=names, scale=scale.value, seed=first, model=model, data=data)
        write_text(out / "mechanism.json", json.dumps(mechanism, indent=1))
        write_figures(records, mechanism, out)
    if json_ is not None:
        emit_json(records, json_)
    if json_ != "-":
        table_of(records).print(Console())
