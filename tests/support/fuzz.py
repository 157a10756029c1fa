"""Calls of the command line in this process as from a shell: exit status, both streams, a time limit."""

from __future__ import annotations

import contextlib
import io
import os
import re
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnemotomy.__main__ import main


class Hang(BaseException):
    """A call took too long; no ``except Exception`` catches it."""


@dataclass(frozen=True)
class Called:
    """How a call ended; ``traceback`` is None unless it raised."""

    status: int
    out: str
    err: str
    traceback: str | None

    @property
    def lines(self) -> list[str]:
        """Of standard error, without warnings."""
        return [line for line in self.err.splitlines() if not re.match(r"\w+: warning: ", line)]


def call(arguments: list[str], folder: Path, seconds: float, typed: str = "") -> Called:
    """Call ``mnemotomy`` with these arguments in ``folder``; streams are strict as those of a terminal in UTF-8."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace"))
    status, raised = 0, None
    with _surrounded(arguments, folder, typed), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with time_limit(seconds):
                main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(bool(end.code))
        except Hang:
            status, raised = -1, f"a hang: {seconds} s\n{traceback.format_exc()}"
        except BaseException:
            status, raised = 1, traceback.format_exc()
    out.flush(), err.flush()
    shown, told = (stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err))  # type: ignore[attr-defined]
    return Called(status, shown, told, raised)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise ``Hang`` inside after so many seconds."""

    def over(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _surrounded(arguments: list[str], folder: Path, typed: str) -> Iterator[None]:
    before, argv, stdin, shown = os.getcwd(), sys.argv, sys.stdin, warnings.formatwarning
    os.chdir(folder)
    sys.argv, sys.stdin = ["mnemotomy", *arguments], io.StringIO(typed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            yield
    finally:
        sys.argv, sys.stdin, warnings.formatwarning = argv, stdin, shown
        os.chdir(before)


@dataclass(frozen=True)
class Case:
    """One call: its arguments, what is prepared in its folder before, the most bytes of a file, and what is typed."""

    arguments: list[str]
    prepare: Callable[[Path], object] = lambda folder: None
    room: int | None = None
    typed: str = ""


def faults(case: Case, folder: Path, inputs: Path, seconds: float) -> list[str]:
    """What is wrong with how a call ended, in a new ``folder``: nothing, if the promise holds."""
    return tried(case, folder, inputs, seconds)[1]


def tried(case: Case, folder: Path, inputs: Path, seconds: float) -> tuple[Called, list[str]]:
    """How a call ended, in a new ``folder``, and what is wrong with it."""
    folder.mkdir()
    case.prepare(folder)
    kept, read = tree(folder), tree(inputs)
    with _room(case.room):
        called = call(case.arguments, folder, seconds, case.typed)
    found = []
    if called.traceback is not None:
        found.append(called.traceback)
    elif called.status not in (0, 2):
        found.append(f"status {called.status}: {called.err}")
    elif called.status == 2 and (len(called.lines) != 1 or not called.lines[0].startswith(("mnemotomy: ", "Usage: "))):
        found.append(f"not one line: {called.err!r}")
    if "\x1b" in called.out + called.err:
        found.append(f"an escape in the output: {called.out + called.err!r}")
    changed = [path for path, _ in tree(folder).items() ^ kept.items() if not _resumes(Path(path).relative_to(folder))]
    if called.status and changed:
        found.append(f"status {called.status}, but it left or changed {sorted(changed)}")
    if tree(inputs) != read:
        found.append(f"it changed its inputs: {sorted(tree(inputs).items() ^ read.items())}")
    return called, found


def _resumes(path: Path) -> bool:
    """Whether it is meant to stay after a failed run, for the next to go on from."""
    return path.parts[0].endswith((".training", ".checkpoint"))


@contextlib.contextmanager
def _room(size: int | None) -> Iterator[None]:
    """A full disk, as far as a process can have one: no file may grow beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (before[0] if size is None else size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Kind, size and time of change of everything below a folder, by path; links are not followed."""
    found = {}
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(above, name)
            stat = os.lstat(path)
            is_folder = os.path.isdir(path) and not os.path.islink(path)
            found[path] = (stat.st_mode, 0) if is_folder else (stat.st_size, stat.st_mtime_ns)
    return found
