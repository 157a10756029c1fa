"""Work in a forked process that is killed by SIGKILL, at a place of its system calls or at a random moment."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import random
import select
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mnemotomy.core import temporary
from mnemotomy.core.temporary import remove_abandoned
from mnemotomy.store import schema

_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.truncate", "os.symlink", "shutil.rmtree",
            "sqlite3.connect", "tempfile.mkstemp", "tempfile.mkdtemp")  # fmt: skip

_LONGEST = 120  # seconds

Work = Callable[[], object]


def forked(folder: Path, work: Work, *, place: int = 0, seconds: float | None = None) -> tuple[bool, int, float]:
    """Do ``work`` in ``folder``, in a process of its own.

    Args:
        place: the change of files in the folder before which it is killed, from 1.
        seconds: after which it is killed.

    Returns:
        Whether it was killed; the places that it passed, if it was not; how long it took.
    """
    torch.set_num_threads(1)
    before, start = folder.with_suffix(".log"), time.perf_counter()
    reader, writer = os.pipe()
    sys.stdout.flush(), sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch has started threads, none of which runs here
        process = os.fork()
    if process == 0:
        _child(folder, work, place, writer, before)
    os.close(writer)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)
    if not select.select([reader], [], [], _LONGEST)[0]:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        raise AssertionError(f"it took more than {_LONGEST} s")
    with os.fdopen(reader, "rb") as answer:
        passed = answer.read()
    _, status = os.waitpid(process, 0)
    took = time.perf_counter() - start
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True, 0, took
    assert os.WEXITSTATUS(status) == 0, before.read_text()
    return False, int(passed), took


def _child(folder: Path, work: Work, place: int, writer: int, log: Path) -> None:
    try:
        handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(handle, 1), os.dup2(handle, 2)
        os.chdir(folder)
        passed = _watch(folder, place)
        work()
        os.write(writer, str(passed[0]).encode())
        os._exit(0)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        os._exit(1)


def _watch(folder: Path, place: int) -> list[int]:
    """Count the changes of files below ``folder``, and end at the given one."""
    passed, below = [0], str(folder)

    def tick(*_: Any) -> None:
        passed[0] += 1
        if passed[0] == place:
            os.kill(os.getpid(), signal.SIGKILL)

    def audited(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and isinstance(path, str | bytes) and os.path.abspath(os.fsdecode(path)).startswith(below):
                tick()
        elif event in _CHANGES:
            tick()

    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            tick()
            found = function(*arguments, **named)
            tick()
            return found

        return called

    def opening(path: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        """A file whose every text is written in two halves, with a place between them."""
        file = opened(path, mode, *arguments, **named)
        if set(mode) & set("wax+") and not isinstance(path, int) and os.path.abspath(path).startswith(below):
            write = file.write

            def halves(content: Any) -> int:
                half = len(content) // 2
                write(content[:half]), file.flush()
                tick()
                return half + int(write(content[half:]))

            file.write = halves
            tick()
        return file

    opened = open
    builtins.open = io.open = opening  # type: ignore[assignment]
    sys.addaudithook(audited)
    os.fsync = around(os.fsync)  # type: ignore[assignment]
    temporary.exchange = around(temporary.exchange)
    schema._Connection.execute = around(schema._Connection.execute)  # type: ignore[method-assign]
    return passed


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its relative path, but for hidden ones."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in sorted(found.items())
        if not any(p[0] == "." for p in Path(name).parts)
    }


@dataclass(frozen=True)
class Writer:
    """What writes, and how what it wrote is read.

    Attributes:
        name: for the table.
        old: makes what is there before.
        new: is killed.
        state: what is there, compared; None where there is nothing.
        several: whether it writes several things, by name, each of which is old or new.
        settle: folders that the next run looks after; called after each kill, before the state is read.
        kills: how often it is killed, at least.
        twice: whether every other run that resumes is killed, too.
    """

    name: str
    old: Work
    new: Work
    state: Callable[[Path], Any] = contents
    several: bool = False
    settle: tuple[str, ...] = ()
    kills: int = 16
    twice: bool = False


def kills(writer: Writer, folder: Path) -> Iterator[str | None]:
    """Kill it, half of the times at places and half at random moments; yield what is wrong after each kill."""
    draw, base, number = random.Random(writer.name), folder / "base", writer.kills
    base.mkdir()
    with contextlib.chdir(base):
        writer.old()
    before = writer.state(base)
    with contextlib.chdir(shutil.copytree(base, folder / "first", symlinks=True)):
        writer.new()  # imports what it needs, so that no child does
    whole = shutil.copytree(base, folder / "whole", symlinks=True)
    _, places, took = forked(whole, writer.new)
    after, names = writer.state(whole), listed(whole)
    assert after != before, "it writes nothing new"
    at = sorted(draw.sample(range(1, places + 1), min(places, number // 2)))
    for one in range(number):
        work = shutil.copytree(base, folder / str(one), symlinks=True)
        killed = one < len(at) and forked(work, writer.new, place=at[one])[0]
        share = 1.0
        while not killed:  # a random moment, earlier where it was too late
            shutil.rmtree(work)
            shutil.copytree(base, work, symlinks=True)
            killed = forked(work, writer.new, seconds=draw.uniform(0.0, took * share))[0]
            share *= 0.8
        for target in writer.settle:
            remove_abandoned(work / target)
        again = writer.twice and one % 2 == 1 and forked(work, writer.new, seconds=draw.uniform(0.0, took))[0]
        yield from [_wrong(writer, work, before, after, names)] * (1 + again)
        shutil.rmtree(work)


def _wrong(writer: Writer, work: Path, before: Any, after: Any, names: set[str]) -> str | None:
    found = writer.state(work)
    if writer.several:
        halves = [name for name in found if found[name] not in (before.get(name), after.get(name))]
        if halves:
            return f"half written: {halves}"
    elif found not in (before, after):
        return f"neither the old nor the new content: {found}"
    with contextlib.chdir(work):
        writer.new()
    if writer.state(work) != after:
        return f"the next run does not get there: {writer.state(work)}"
    return None if listed(work) == names else f"left: {sorted(listed(work) ^ names)}"


def listed(folder: Path) -> set[str]:
    """Every path below a folder, hidden ones too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
