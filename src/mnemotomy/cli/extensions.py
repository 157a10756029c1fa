"""Commands that other distributions bring, by the entry-point group ``mnemotomy.commands``."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer

from mnemotomy.cli.outcome import FAILED

GROUP = "mnemotomy.commands"

KNOWN = {"bench": "the experiments are a distribution of their own; in a checkout: pip install -e experiments"}
"""Commands that we publish elsewhere, and how to get them."""


def add_extensions(app: typer.Typer) -> None:
    """Add every command of the group; one that is absent or broken says so when it is called.

    An entry point is a ``typer.Typer`` (a command with sub-commands) or a function (a single command).
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    for name, point in sorted(found.items()):
        try:
            command = point.load()
        except Exception as error:  # whatever another distribution raises must not take our own commands away
            _refuse(app, name, f"'{name}' of {_origin(point)} cannot be loaded: {error}")
        else:
            _add(app, name, command)
    for name in sorted(KNOWN.keys() - found.keys()):
        _refuse(app, name, f"there is no command '{name}' here: {KNOWN[name]}")


def _add(app: typer.Typer, name: str, command: Any) -> None:
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)


def _refuse(app: typer.Typer, name: str, why: str) -> None:
    def refuse(arguments: list[str] = typer.Argument(None, hidden=True)) -> None:  # noqa: B008
        typer.echo(f"mnemotomy: {' '.join(why.split())}", err=True)
        raise typer.Exit(FAILED)

    settings = {"ignore_unknown_options": True, "help_option_names": []}  # whatever follows, the answer is the same
    app.command(name, hidden=True, context_settings=settings)(refuse)


def _origin(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
