"""A bench in several processes, which share the tasks of all plans so that no core idles."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch

from mnemotomy.core.progress import progress_bar

TUNABLES = (
    "glibc.malloc.mmap_max=0", "glibc.malloc.trim_threshold=4294967296", "glibc.malloc.top_pad=67108864",
    "glibc.malloc.hugetlb=1",
)  # fmt: skip
"""Freed memory is kept, in large pages. Otherwise large activations are returned to the system and
fetched again page by page, which takes a third of a small network's forward pass."""


@dataclass(frozen=True)
class Task:
    """``run(*arguments)`` in one of the processes: a function of a module, and what can be pickled."""

    run: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


Plan = Generator[Sequence[Task], list[Any], None]
"""Yields lists of independent tasks, and is sent their results, in order, when all are done."""


class Workers:
    """Processes that carry out plans; all have ended on exit, even after an error.

    Args:
        jobs: how many; they share the cores.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")  # a fork would share torch's threads
        self._others = multiprocessing.active_children()
        self._pool = ProcessPoolExecutor(self.jobs, context, _start, (self.jobs,))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
        if kind is not None:
            for child in multiprocessing.active_children():
                if child not in self._others:
                    child.terminate()

    def carry_out(self, what: str, plans: Sequence[Plan]) -> None:
        """Run all plans at once, tasks in the order that plans give them. The first error is raised."""
        with _environment(self.jobs), progress_bar(what, None) as advance:
            stages = {plan: self._submitted(plan, None) for plan in plans}
            while stages := {plan: futures for plan, futures in stages.items() if futures}:
                running = [future for futures in stages.values() for future in futures if not future.done()]
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                advance(len(done))
                for plan, futures in stages.items():
                    if all(future.done() for future in futures):
                        stages[plan] = self._submitted(plan, [future.result() for future in futures])

    def _submitted(self, plan: Plan, found: list[Any] | None) -> list[Future[Any]]:
        """Start the tasks that follow ``found``; none at the end of the plan."""
        with contextlib.suppress(StopIteration):
            while not (tasks := next(plan) if found is None else plan.send(found)):
                found = []
            return [self._pool.submit(task.run, *task.arguments) for task in tasks]
        return []


@contextlib.contextmanager
def _environment(jobs: int) -> Iterator[None]:
    """Processes started inside keep the memory that they free, and share the cores in all libraries.

    Without glibc, memory is not affected.
    """
    own = os.environ.get("GLIBC_TUNABLES")
    wanted = {
        "GLIBC_TUNABLES": ":".join([*TUNABLES, *([own] if own else [])]),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(_threads(jobs))),
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _threads(jobs: int) -> int:
    return max(1, (os.cpu_count() or 1) // jobs)


def _start(jobs: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    os.environ["TTY_COMPATIBLE"] = "0"  # and shows the only progress bar
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(_threads(jobs))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()  # it may have been killed; nothing else would end its workers
    os._exit(1)
