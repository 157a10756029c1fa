"""The command line: one thin file per command. A command imports what is heavy only when it runs."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, Any

import typer

from mnemotomy import __version__
from mnemotomy.cli.apply import apply
from mnemotomy.cli.ask import ask
from mnemotomy.cli.audit import audit
from mnemotomy.cli.chat import chat
from mnemotomy.cli.collect import collect
from mnemotomy.cli.data import data
from mnemotomy.cli.demo import demo
from mnemotomy.cli.doctor import doctor
from mnemotomy.cli.edit import edit
from mnemotomy.cli.evaluate import evaluate
from mnemotomy.cli.extensions import add_extensions
from mnemotomy.cli.facts import facts
from mnemotomy.cli.forget import forget
from mnemotomy.cli.metabolize import metabolize
from mnemotomy.cli.methods import methods
from mnemotomy.cli.outcome import INTERRUPTED, SAID, one_line_warning
from mnemotomy.cli.trace import trace
from mnemotomy.cli.unlearn import unlearn
from mnemotomy.core.printable import one_line

_UsageError: Any = typer.BadParameter.__mro__[1]  # the parent of all usage errors; typer has no public name for it

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text keeps the line breaks of the examples
)
for _command in (demo, forget, collect, trace, apply, metabolize, unlearn, audit, evaluate, methods, ask, chat, doctor):
    app.command()(_command)
app.add_typer(edit, name="edit")
app.add_typer(facts, name="facts")
app.add_typer(data, name="data")
add_extensions(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mnemotomy {__version__}")
        raise typer.Exit


@app.callback()
def _mnemotomy(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Memory surgery for neural networks: find, weigh, erase, restore and combine what a model knows.

    \b
    Example:
      mnemotomy doctor
    """


def main() -> None:
    """The command ``mnemotomy``. Exits with 0, with 2 and one line on standard error, or with 130 after Ctrl-C."""
    warnings.formatwarning = one_line_warning
    SAID.clear()
    try:
        status = app(prog_name="mnemotomy", standalone_mode=False)
        if status == INTERRUPTED and not SAID:
            typer.echo("mnemotomy: interrupted", err=True)
    except _UsageError as error:  # typer itself would print four lines
        message = error.format_message()
        if not message.startswith("Usage:"):  # without a command, the message is the help
            where = "mnemotomy" if error.ctx is None else error.ctx.command_path
            line = one_line(message.replace("Value error, ", "")).rstrip(".")
            message = f"mnemotomy: {line}; see '{where} --help'"
        typer.echo(message, err=True)
        status = error.exit_code
    sys.exit(status if isinstance(status, int) else 0)
