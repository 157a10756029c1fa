"""One progress bar for long work, on standard error: standard output stays machine-readable.

A log file gets a line a minute in place of the bar.
"""

from __future__ import annotations

import contextlib
import html
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")

_FIRST, _EVERY = 30.0, 60.0  # seconds to the first line in a log, and from each to the next


class Advance(Protocol):
    """Moves the bar by ``steps``; ``note`` is shown behind it."""

    def __call__(self, steps: int, note: str = "") -> None: ...


@contextlib.contextmanager
def progress_bar(description: str, total: int | None, *, enabled: bool = True) -> Iterator[Advance]:
    """Show a bar named ``description``; yields ``advance(steps)``. ``total=None`` for work of unknown length."""
    from rich import progress as bar  # not above: the command line imports this module
    from rich.console import Console

    console = Console(stderr=True)
    if enabled and console.is_jupyter:
        with _notebook_bar(description, total) as advance:
            yield advance
        return
    if not enabled:
        yield lambda steps, note="": None
        return
    if not console.is_terminal:
        yield _lines(description, total)
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


def _lines(description: str, total: int | None) -> Advance:
    """Lines for a log; short work writes none."""
    started, done, due = time.monotonic(), 0, _FIRST

    def advance(steps: int, note: str = "") -> None:
        nonlocal done, due
        done += steps
        if (passed := time.monotonic() - started) < due:
            return
        due = passed + _EVERY
        share = f"{done}/{total}" if total else f"{done}"
        if total and done:
            share += f", about {max(1, round(passed * (total - done) / done / 60))} min left"
        print(f"{description}: {share}{note and f' ({note})'}", file=sys.stderr, flush=True)

    return advance


@contextlib.contextmanager
def _notebook_bar(description: str, total: int | None) -> Iterator[Advance]:
    """One line of HTML that is replaced: rich's bar prints from a thread, into a widget that need not be installed."""
    from IPython.display import HTML, display

    done, last = 0, 0.0

    def line(note: str = "") -> Any:
        bar = f'<progress value="{done}" max="{total}"></progress>' if total else ""
        return HTML(f"{html.escape(description)} {bar} {done}{f'/{total}' if total else ''} {html.escape(note)}")

    def advance(steps: int, note: str = "") -> None:
        nonlocal done, last
        done += steps
        if time.monotonic() - last > 0.5:
            last = time.monotonic()
            handle.update(line(note))

    handle = display(line(), display_id=True)
    try:
        yield advance
    finally:
        handle.update(HTML(""))


def shown(
    description: str, items: Iterable[Item], total: int, *, step: int = 1000, enabled: bool = True
) -> Iterator[Item]:
    """The items, with a bar that moves every ``step`` items."""
    with progress_bar(description, total, enabled=enabled) as advance:
        for number, item in enumerate(items, start=1):
            yield item
            if number % step == 0:
                advance(step)
