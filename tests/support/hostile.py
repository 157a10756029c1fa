"""One hostile input: how it is made, what is called, and how the call must end."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fuzz import Called, Case, tree, tried
from fuzz_cases import Inputs

SECONDS = 20
MEMORY = 2**31  # bytes more than before the call

Prepare = Callable[[Path], object]


@dataclass(frozen=True)
class Hostile:
    """Code in an input makes the file ``ran`` beside its folder; nothing else may change there either.

    Attributes:
        kind: of the input, for the table.
        name: of the case.
        arguments: of the call.
        prepare: makes the input in the folder of the call.
        refused: part of the one line that refuses it; None if it must be rendered harmless.
        shown: looks at what came of a harmless one, in its folder, and returns what is wrong.
        typed: on standard input.
    """

    kind: str
    name: str
    arguments: list[str]
    prepare: Prepare = lambda folder: None
    refused: str | None = ""
    shown: Callable[[Path, Called], str | None] = lambda folder, called: None
    typed: str = ""


def wrongs(one: Hostile, above: Path, inputs: Inputs) -> list[str]:
    """What is wrong with how it ended: nothing, if the promise holds."""
    (above / "outside").mkdir()
    (above / "outside" / "mine").write_text("somebody's")
    before = tree(above / "outside")
    with _memory():
        called, found = tried(Case(one.arguments, one.prepare, typed=one.typed), above / "work", inputs.folder, SECONDS)
    if (above / "ran").exists():
        found.append("code of the input was run")
    if tree(above / "outside") != before or {path.name for path in above.iterdir()} - {"outside", "work", "ran"}:
        found.append(f"something outside was written: {sorted(tree(above))}")
    if one.refused is None and called.status:
        found.append(f"refused: {called.err}")
    if one.refused is not None and not (called.status == 2 and one.refused in called.err):
        found.append(f"status {called.status}, not refused by {one.refused!r}: {called.err}")
    if one.refused is None and not found:
        wrong = one.shown(above / "work", called)
        found += [] if wrong is None else [wrong]
    return found


@contextlib.contextmanager
def _memory() -> Iterator[None]:
    """No more memory than ``MEMORY`` beyond what the process has now: a bomb fails in it, and not the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
