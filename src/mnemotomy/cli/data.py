"""``mnemotomy data``: public benchmarks as files that ``forget`` and ``audit`` take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnemotomy.cli.outcome import one_line_errors, say

data = typer.Typer(no_args_is_help=True)


@data.callback()
def _data() -> None:
    """Get public benchmarks as files for 'forget' and 'audit'.

    \b
    Example:
      mnemotomy data import muse muse-bench/MUSE-News news
      mnemotomy data list
    """


@data.command("list")
@one_line_errors()
def list_() -> None:
    """List the benchmarks, with their ids on the hub and the files that each gives."""
    from mnemotomy.data.benchmarks import BENCHMARKS

    for name, one in BENCHMARKS.items():
        where = " or ".join(one.hub) or "a JSON file"
        say(f"{name}: {one.title}; from {where}; {', '.join(one.parts)}")


@data.command("import")
@one_line_errors()
def import_(
    name: Annotated[str, typer.Argument(help="A benchmark; see 'mnemotomy data list'.")],
    source: Annotated[str, typer.Argument(help="A hub id, a folder with the benchmark's files, or one such file.")],
    out: Annotated[Path, typer.Argument(help="The folder to write; an earlier import is replaced.")],
    subject: Annotated[
        list[str] | None, typer.Option(help="Only rows about this person or thing; may be repeated.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The most rows of each part to read.")] = None,
) -> None:
    """Write a benchmark as concept files: forget, retain, holdout, and the questions of an audit.

    A multiple-choice question becomes a question with its options, answered by the right one.

    \b
    Example:
      mnemotomy data import muse muse-bench/MUSE-News news
      mnemotomy data import rwku jinzhuoran/RWKU king --subject "Stephen King"
      mnemotomy data import counterfact counterfact.json facts --limit 20
    """
    from mnemotomy.data.benchmarks import FILES
    from mnemotomy.data.importing import import_benchmark

    done = import_benchmark(name, source, out, subjects=subject or (), limit=limit)
    for file, path in done.files.items():
        say(f"{path}: {done.counts[file]} lines, {FILES[file]}")
    for file, why in done.left_out.items():
        say(f"mnemotomy: no {file}.jsonl: {why}", err=True)
    if done.plain:
        say("The answers continue the questions: give --plain to 'forget' and 'audit'.")
