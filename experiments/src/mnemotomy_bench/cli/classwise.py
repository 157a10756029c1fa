"""``mnemotomy bench classwise``: class-wise unlearning with every method, and the engrams of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnemotomy.cli.outcome import one_line_errors
from mnemotomy_bench.cli.options import Figures, Jobs, Json, Out, Scale, Seeds, keep, show


@one_line_errors()
def classwise(
    scale: Annotated[
        Scale, typer.Option(help="tiny: digits, under 2 minutes; small: MNIST and CIFAR-10; paper: for a GPU.")
    ] = Scale.SMALL,
    out: Out = Path("runs/bench/classwise"),
    data: Annotated[
        Path | None, typer.Option(help="The folder with mnist/, cifar10/ and cifar100/; default: MNEMOTOMY_DATA.")
    ] = None,
    seed: Seeds = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="A case, or a method (without figures); may be repeated."),
    ] = None,
    jobs: Jobs = 1,
    figures: Figures = True,
    json_: Json = None,
) -> None:
    """Make classifiers forget a class with every method, and measure what they forget, keep and cost.

    \b
    Example:
      mnemotomy bench classwise --scale tiny
      mnemotomy bench classwise --scale tiny --only neggrad --only engram-automatic --json -
      mnemotomy bench classwise --scale small --jobs 2
      mnemotomy bench classwise --scale paper --only cifar10-resnet18 --data ../shared/data
    """
    from mnemotomy_bench.classwise.cases import cases
    from mnemotomy_bench.classwise.run import fill, run_analyses, run_classwise
    from mnemotomy_bench.classwise.show import write_figures, write_tables
    from mnemotomy_bench.classwise.table import print_records

    names = only or []
    draws = figures and all(name in cases(scale.value, data=data) for name in names)
    if jobs > 1:
        fill(out, jobs=jobs, scale=scale.value, seeds=seed, only=names, data=data, figures=draws)
    records = run_classwise(out, scale=scale.value, seeds=seed, only=names, data=data)
    keep(records, out / "classwise.json")
    write_tables(records, out)
    if draws:
        analyses = run_analyses(out, records, scale=scale.value, seeds=seed, only=names, data=data)
        keep(analyses, out / "analyses.json")
        write_figures(records, analyses, out)
    show(records, json_, lambda console: print_records(records, console))
