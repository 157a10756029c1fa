"""What the commands of ``mnemotomy bench`` share: options, and how records are kept and shown."""

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
    """How much is run of the experiments on images."""

    TINY = "tiny"
    SMALL = "small"
    PAPER = "paper"


class FactScale(enum.StrEnum):
    """How much is run of the experiments on facts."""

    TINY = "tiny"
    SMALL = "small"
    FULL = "full"


Facts = Annotated[FactScale, typer.Option("--scale", help="tiny: one seed, under 4 minutes; small: five seeds.")]
Model = Annotated[str | None, typer.Option(help="A folder or a hub id in place of the small world's model.")]
Out = Annotated[Path, typer.Option(help="For results, models and figures; what is there is not run again.")]
Seeds = Annotated[list[int] | None, typer.Option("--seed", help="In place of the scale's; may be repeated.")]
Jobs = Annotated[
    int, typer.Option(min=1, help="Processes at a time, a core each is best; seconds are then taken beside others.")
]
Figures = Annotated[bool, typer.Option(help="Whether to draw, and to measure what the figures show.")]
Device = Annotated[str, typer.Option(help="As cpu, cuda or cuda:1.")]
Json = Annotated[str | None, json_option("the records")]


def keep(records: Any, path: Path) -> None:
    """Write what JSON can hold into a file."""
    import json

    write_text(path, json.dumps(records, indent=1))


def show(records: Any, target: str | None, shown: Callable[[Console], object]) -> None:
    """End a command.

    Args:
        records: as JSON, where ``--json`` asks for them.
        target: of ``--json``; ``-`` for standard output, on which nothing else is then printed.
        shown: prints for people.
    """
    from rich.console import Console

    if target is not None:
        emit_json(records, target)
    if target != "-":
        shown(Console())
