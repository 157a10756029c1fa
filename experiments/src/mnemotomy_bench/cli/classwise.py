"""``mnemotomy bench classwise``: class-wise unlearning with every method, and what the engrams of classes are."""

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
def classwise(
    scale: Annotated[
        Scale, typer.Option(help="tiny: digits, under 2 minutes; small: MNIST and CIFAR-10; paper: for a GPU.")
    ] = Scale.SMALL,
    out: Annotated[Path, typer.Option(help="For results, models and figures; what is there is not run again.")] = Path(
        "runs/bench/classwise"
    ),
    data: Annotated[
        Path | None, typer.Option(help="The folder with mnist/, cifar10/ and cifar100/; MNEMOTOMY_DATA by default.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="In place of the scale's; may be repeated.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="A case, or a method (then no figures); may be repeated."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Processes at a time, a core each is best; seconds are then taken beside others.")
    ] = 1,
    figures: Annotated[bool, typer.Option(help="Whether to draw, and to measure what the figures show.")] = True,
    json_: Annotated[str | None, json_option("the records")] = None,
) -> None:
    """Make classifiers forget a class with every method, and measure what they forget, keep and cost.

    \b
    Example:
      mnemotomy bench classwise --scale tiny
      mnemotomy bench classwise --scale tiny --only neggrad --only engram-automatic --json -
      mnemotomy bench classwise --scale small --jobs 2
      mnemotomy bench classwise --scale paper --only cifar10-resnet18 --data ../shared/data
    """
    import json

    from rich.console import Console

    from mnemotomy_bench.classwise.cases import cases
    from mnemotomy_bench.classwise.run import fill, run_analyses, run_classwise
    from mnemotomy_bench.classwise.show import write_figures, write_tables
    from mnemotomy_bench.classwise.table import print_records

    names = only or []
    draws = figures and all(name in cases(scale.value, data) for name in names)
    if jobs > 1:
        fill(out, jobs=jobs, scale=scale.value, seeds=seed, only=names, data=data, figures=draws)
    records = run_classwise(out, scale=scale.value, seeds=seed, only=names, data=data)
    write_text(out / "classwise.json", json.dumps(records, indent=1))
    write_tables(records, out)
    if draws:
        analyses = run_analyses(out, records, scale=scale.value, seeds=seed, only=names, data=data)
        write_text(out / "analyses.json", json.dumps(analyses, indent=1))
        write_figures(records, analyses, out)
    if json_ is not None:
        emit_json(records, json_)
    if json_ != "-":
        print_records(records, Console())
