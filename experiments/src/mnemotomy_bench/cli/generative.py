"""``mnemotomy bench generative``: digits erased from an autoencoder, attributes from one that draws faces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnemotomy.cli.outcome import one_line_errors
from mnemotomy_bench.cli.options import Jobs, Json, Out, Scale, Seeds, keep, show


@one_line_errors()
def generative(
    scale: Annotated[
        Scale, typer.Option(help="tiny: 8×8 digits, few faces, under 2 minutes; small: MNIST, more faces; paper: GPU.")
    ] = Scale.SMALL,
    out: Out = Path("runs/bench/generative"),
    data: Annotated[
        Path | None, typer.Option(help="The folder with mnist/ and celeba/; default: MNEMOTOMY_DATA.")
    ] = None,
    seed: Seeds = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="digits, faces, or a method of the digits (without figures); may be repeated."),
    ] = None,
    jobs: Jobs = 1,
    figures: Annotated[bool, typer.Option(help="Draw figures.")] = True,
    json_: Json = None,
) -> None:
    """Erase digits from an autoencoder, and erase, amplify and combine attributes of faces; measure what else changes.

    \b
    Example:
      mnemotomy bench generative --scale tiny
      mnemotomy bench generative --scale tiny --only digits --json -
      mnemotomy bench generative --scale small --only digits --data ../shared/data
      mnemotomy bench generative --scale small --jobs 2
    """
    from mnemotomy_bench.generative.run import draw_generative, fill, run_generative
    from mnemotomy_bench.generative.show import write_tables
    from mnemotomy_bench.generative.table import print_records

    names = only or []
    if jobs > 1:
        fill(out, jobs=jobs, scale=scale.value, seeds=seed, only=names, data=data)
    records = run_generative(out, scale=scale.value, seeds=seed, only=names, data=data)
    keep(records, out / "generative.json")
    write_tables(records, out)
    if figures:
        draw_generative(records, out, scale=scale.value, seeds=seed, only=names, data=data)
    show(records, json_, lambda console: print_records(records, console))
