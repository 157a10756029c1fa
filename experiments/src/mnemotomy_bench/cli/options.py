"""Options shared by the commands of ``mnemotomy bench``, and how records are kept and shown."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnemotomy.cli.outcome import emit_json, json_option
from mnemotomy.core.files import write_text

if TYPE_CHECKING:
    from rich.console import Console


class Scale(enum.StrEnum):
    """The size of the experiments on images."""

    TINY = "tiny"
    SMALL = "small"
    PAPER = "paper"


class FactScale(enum.StrEnum):
    """The size of the experiments on facts."""

    TINY = "tiny"
    SMALL = "small"
    FULL = "full"


Facts = Annotated[FactScale, typer.Option("--scale", help="tiny: one seed, under 4 minutes; small: five seeds.")]
Only = Annotated[list[str] | None, typer.Option(help="A configuration by name; may be repeated.")]
Model = Annotated[str | None, typer.Option(help="A folder or hub id to use instead of the small world's model.")]
Out = Annotated[Path, typer.Option(help="For results, models and figures; finished results are reused.")]
Seeds = Annotated[list[int] | None, typer.Option("--seed", help="Overrides the seeds of the scale; may be repeated.")]
Jobs = Annotated[
    int, typer.Option(min=1, help="Processes to run at once, best one per core; timings then include contention.")
]
Figures = Annotated[bool, typer.Option(help="Draw figures, and measure what they show.")]
Device = Annotated[str, typer.Option(help="Such as cpu, cuda or cuda:1.")]
Json = Annotated[str | None, json_option("the records")]


def keep(records: Any, path: Path) -> None:
    """Write records to a JSON file."""
    import json

    write_text(path, json.dumps(records, indent=1))


def show(records: Any, target: str | None, shown: Callable[[Console], object]) -> None:
    """Write and print what a command found.

    Args:
        records: written as JSON where ``--json`` asks for them.
        target: of ``--json``; ``-`` is standard output, where nothing else is printed then.
        shown: prints them for people.
    """
    from rich.console import Console

    if target is not None:
        emit_json(records, target)
    if target != "-":
        shown(Console())
