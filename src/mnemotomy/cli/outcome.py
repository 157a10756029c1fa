"""How a command ends: results go to a file or standard output, an error is one line and an exit status."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import typer

from mnemotomy.cli.extras import EXTRAS
from mnemotomy.core.errors import MnemotomyError
from mnemotomy.core.files import check_file, write_text
from mnemotomy.core.printable import json_text, one_line, printable

if TYPE_CHECKING:
    from rich.console import Console

FAILED, INTERRUPTED = 2, 130


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Report an error that a user can act on in one line on standard error; a bug keeps its traceback.

    Raises:
        typer.Exit: with 2 after an error, with 130 after Ctrl-C.
    """
    try:
        yield
    except (MnemotomyError, safetensors.SafetensorError) as error:
        raise _exit(str(error), FAILED) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise _exit(f"{where}{error.strerror or error}", FAILED) from None
    except ModuleNotFoundError as error:
        extra = next((extra for extra in EXTRAS if extra.module == (error.name or "").partition(".")[0]), None)
        if extra is None:
            raise
        raise _exit(f"{extra.package} is missing; install it with: {extra.command}", FAILED) from None
    except UnicodeEncodeError as error:
        raise _exit(f"{error.object[:80]!r} contains bytes that are not UTF-8; write it in UTF-8", FAILED) from None
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise _exit("not enough memory; choose smaller batches, fewer sites, or a smaller setting", FAILED) from None
    except KeyboardInterrupt as interrupt:
        raise _exit(f"interrupted; {interrupt}" if interrupt.args else "interrupted", INTERRUPTED) from None


def json_option(what: str) -> Any:
    """``--json FILE`` for ``emit_json``; refuses a file that cannot be written before the work begins."""
    text = f"Write {what} as JSON; - for standard output."
    return typer.Option("--json", metavar="FILE", help=text, callback=_check_json)


def emit_json(data: Any, target: str) -> None:
    """Write ``data`` as JSON to the file ``target``, or to standard output if it is ``-``."""
    text = json_text(json.dumps(data, indent=2, ensure_ascii=False))
    if target == "-":
        typer.echo(text)
    else:
        write_text(target, text + "\n")


def say(text: str, *, err: bool = False) -> None:
    """Print for people; what a file, a name or a model contains cannot control the terminal."""
    typer.echo(printable(text), err=err)


def warn(text: str) -> None:
    """A warning in one line on standard error, in the form of those that the package gives by ``warnings``."""
    say(f"mnemotomy: warning: {text}", err=True)


def console() -> Console:
    """Standard output for tables; 200 columns wide where it is a file or a pipe."""
    from rich.console import Console

    found = Console()
    return found if found.is_terminal else Console(width=200)


def one_line_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A ``warnings.formatwarning`` without path and source line; another package's warning carries its name."""
    _, installed, inside = filename.rpartition("site-packages/")
    package = inside.partition("/")[0].removesuffix(".py")
    name = package if installed else "mnemotomy"
    return f"{name}: warning: {one_line(message)}\n"


@one_line_errors()
def _check_json(target: str | None) -> str | None:
    if target is not None and target != "-":
        check_file(Path(target))
    return target


def _is_out_of_memory(error: BaseException) -> bool:
    """Torch raises a RuntimeError for a processor's memory, and a subclass of its own for a GPU's."""
    named = type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, MemoryError) or named or "can't allocate memory" in str(error)


SAID: list[str] = []
"""The errors that have been printed: typer gives an interruption outside any command the same status."""


def _exit(message: str, status: int) -> typer.Exit:
    SAID.append(message)
    typer.echo(f"mnemotomy: {one_line(message)}", err=True)
    return typer.Exit(status)
