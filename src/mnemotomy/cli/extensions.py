"""Commands of other distributions, from the entry-point group ``mnemotomy.commands``."""

from __future__ import annotations

from importlib.metadata import entry_points

import typer

from mnemotomy.cli.outcome import FAILED
from mnemotomy.core.printable import one_line

GROUP = "mnemotomy.commands"

KNOWN = {"bench": "the experiments are a separate distribution; in a checkout: pip install -e experiments"}
"""Commands that we publish separately, and how to install them."""


def add_extensions(app: typer.Typer) -> None:
    """Add every command of the group; a missing or broken one says so when it is called.

    An entry point is a ``typer.Typer`` (a command with sub-commands) or a function (a single command).
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    for name, point in sorted(found.items()):
        try:
            command = point.load()
        except Exception as error:  # another distribution must not break our own commands
            origin = point.dist.name if point.dist is not None else point.value
            _refuse(app, name, f"'{name}' of {origin} cannot be loaded: {error}")
        else:
            if isinstance(command, typer.Typer):
                app.add_typer(command, name=name)
            else:
                app.command(name)(command)
    for name in sorted(KNOWN.keys() - found.keys()):
        _refuse(app, name, f"the command '{name}' is not installed: {KNOWN[name]}")


def _refuse(app: typer.Typer, name: str, why: str) -> None:
    def refuse(arguments: list[str] = typer.Argument(None, hidden=True)) -> None:  # noqa: B008
        typer.echo(f"mnemotomy: {one_line(why)}", err=True)
        raise typer.Exit(FAILED)

    settings = {"ignore_unknown_options": True, "help_option_names": []}  # accept any arguments
    app.command(name, hidden=True, context_settings=settings)(refuse)
