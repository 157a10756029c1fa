"""A case by several processes at once: they fill the cache, so that the run that follows finds everything in it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from mnemotomy.bench.classwise.analyses import independent, of_first, of_seed
from mnemotomy.bench.classwise.anatomy import Anatomy
from mnemotomy.bench.classwise.cases import Case
from mnemotomy.bench.classwise.cells import baseline_cell, best_place, flops_cell, method_cell
from mnemotomy.bench.classwise.grids import ORIGINAL, RETRAIN, Row
from mnemotomy.bench.classwise.subject import Subject, threads
from mnemotomy.progress import progress_bar


@dataclass(frozen=True)
class Task:
    """``run(out_dir, subject, *arguments)`` for the subject of one seed."""

    seed: int
    run: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


class Workers:
    """Processes that work on one case; all of them are gone on leaving, whatever happened.

    Args:
        jobs: how many.
        case: whose subjects they load, each one at a time.
        out_dir: of the bench.
        data: the folder of data sets; ``MNEMOTOMY_DATA`` where not given.
    """

    def __init__(self, jobs: int, case: Case, out_dir: Path, data: Path | None) -> None:
        self.jobs, self.case, self.out_dir, self.data = jobs, case, out_dir, data

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

    def do(self, what: str, tasks: Iterable[Task]) -> list[Any]:
        """What each task gives, in their order; the first error of any of them is raised."""
        futures = [self._pool.submit(_do, self.out_dir, self.case, self.data, task) for task in tasks]
        with progress_bar(f"{self.case.name}: {what}", len(futures)) as advance:
            for future in as_completed(futures):
                future.result()
                advance(1)
        return [future.result() for future in futures]


def fill_table(workers: Workers, rows: Mapping[str, Row]) -> None:
    """Train the models of every seed, search every method on the first, and run what was found on all."""
    seeds = workers.case.seeds
    train_models(workers)
    searched = [Task(seeds[0], method_cell, (method,)) for row in rows.values() for method in row.methods]
    held = [Task(seed, baseline_cell, (name,)) for seed in seeds for name in (ORIGINAL, RETRAIN)]
    found = iter(workers.do("search", [*searched, *held])[: len(searched)])
    best = [row.methods[best_place([next(found) for _ in row.methods])] for row in rows.values()]
    counted = [Task(seeds[0], flops_cell, (method,)) for method in best]
    workers.do("seeds", [Task(seed, method_cell, (m,)) for seed in seeds[1:] for m in best] + counted)


def fill_analyses(workers: Workers) -> None:
    """What the figures show of every seed, and of the first."""
    case = workers.case
    if case.matrices_only:
        train_models(workers)
    first, *others = case.seeds
    parts = {seed: independent(case, first=seed == first) for seed in case.seeds}
    workers.do("figures, part by part", [Task(seed, _analyse, (part,)) for seed in parts for part in parts[seed]])
    rest = [Task(first, _analyse, (part,)) for part in (of_first, of_seed)]
    workers.do("figures", rest + [Task(seed, _analyse, (of_seed,)) for seed in others])


def train_models(workers: Workers) -> None:
    """The original and the retrained model of every seed, and of the seeds that these are held against."""
    case, seeds = workers.case, workers.case.seeds
    if case.matrices_only:
        workers.do("training", [Task(seed, _train, ("original",)) for seed in seeds])
        return
    held = seeds if len(seeds) > 1 else (seeds[0], seeds[0] + 1)
    workers.do("training", [Task(seed, _train, (model,)) for seed in held for model in ("original", "retrained")])


def _train(out_dir: Path, subject: Subject, model: str) -> None:
    getattr(subject, model)


def _analyse(out_dir: Path, subject: Subject, what: Callable[[Path, Anatomy], Any]) -> None:
    what(out_dir, Anatomy(subject))


_HELD: dict[tuple[str, int], Subject] = {}
"""The subject that this process works on: a data set in memory is enough."""


def _do(out_dir: Path, case: Case, data: Path | None, task: Task) -> Any:
    if (case.name, task.seed) not in _HELD:
        _HELD.clear()
        _HELD[case.name, task.seed] = Subject(case, task.seed, out_dir / "models", data)
    with threads(case):
        return task.run(out_dir, _HELD[case.name, task.seed], *task.arguments)


def _start(jobs: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
