"""One progress bar for long work, on standard error: standard output stays machine-readable."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Advance(Protocol):
    """Moves the bar by ``steps``; ``note`` is shown behind it."""

    def __call__(self, steps: int, note: str = "") -> None: ...


@contextlib.contextmanager
def progress_bar(description: str, total: int | None, *, enabled: bool = True) -> Iterator[Advance]:
    """Show a bar named ``description``; yields ``advance(steps)``. ``total=None`` for work of unknown length."""
    from rich import progress as bar  # not above: the command line imports this module
    from rich.console import Console

    console = Console(stderr=True)
    # in a notebook without ipywidgets rich would warn at every step
    notebook = console.is_jupyter and find_spec("ipywidgets") is not None
    if not enabled or not (console.is_terminal or notebook):
        yield lambda steps, note="": None
        return
    columns = (
        bar.TextColumn("{task.description}", markup=False),
        bar.BarColumn(),
        bar.MofNCompleteColumn(),
        bar.TimeElapsedColumn(),
        bar.TimeRemainingColumn(),
        bar.TextColumn("{task.fields[note]}", markup=False),
    )
    with bar.Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(description, total=total, note="")
        yield lambda steps, note="": progress.update(task, advance=steps, note=note)


def shown(
    description: str, items: Iterable[Item], total: int, *, step: int = 1000, enabled: bool = True
) -> Iterator[Item]:
    """The items, with a bar that moves every ``step`` items."""
    with progress_bar(description, total, enabled=enabled) as advance:
        for number, item in enumerate(items, start=1):
            yield item
            if number % step == 0:
                advance(step)
