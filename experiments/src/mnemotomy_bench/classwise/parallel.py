"""Several processes on one case: they fill the cache for the run that follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnemotomy_bench.classwise.analyses import dependent, independent
from mnemotomy_bench.classwise.cases import Case
from mnemotomy_bench.classwise.cells import baseline_cell, best_place, flops_cell, method_cell
from mnemotomy_bench.classwise.class_engrams import Anatomy
from mnemotomy_bench.classwise.grids import ORIGINAL, RETRAIN, Row
from mnemotomy_bench.classwise.subject import Subject, threads
from mnemotomy_bench.lab.pool import Plan, Task


@dataclass(frozen=True)
class Place:
    """A case, and where its data is and its results go."""

    case: Case
    out_dir: Path
    data: Path | None

    def task(self, seed: int, run: Callable[..., Any], *arguments: Any) -> Task:
        """``run(out_dir, subject, *arguments)`` for the subject of one seed."""
        return Task(_do, (self, seed, run, arguments))


def case_plan(place: Place, rows: Mapping[str, Row], *, figures: bool) -> Plan:
    """Train the models of every seed; search every method on the first; run what was found on all.

    Args:
        place: of the case.
        rows: the methods; none if the case has no table.
        figures: whether to measure what the figures show too.
    """
    seeds = place.case.seeds
    if rows or figures:
        yield list(_training(place))
    searched = [place.task(seeds[0], method_cell, method) for row in rows.values() for method in row.methods]
    held = [place.task(seed, baseline_cell, name) for seed in seeds for name in (ORIGINAL, RETRAIN)] if rows else []
    parts = _analyses(place, independent) if figures else []
    found = iter((yield [*parts, *searched, *held])[len(parts) :])
    best = [row.methods[best_place([next(found) for _ in row.methods])] for row in rows.values()]
    counted = [place.task(seeds[0], flops_cell, method) for method in best]
    others = [place.task(seed, method_cell, method) for seed in seeds[1:] for method in best]
    yield [*(_analyses(place, dependent) if figures else []), *counted, *others]


def _training(place: Place) -> Iterator[Task]:
    """The original and the retrained model of every seed, and of the seeds that they are compared with."""
    seeds = place.case.seeds
    if place.case.matrices_only:
        held, models = seeds, ["original"]
    else:
        held, models = seeds if len(seeds) > 1 else (seeds[0], seeds[0] + 1), ["original", "retrained"]
    return (place.task(seed, _train, model) for seed in held for model in models)


def _analyses(place: Place, parts: Callable[..., Sequence[Callable[[Path, Anatomy], Any]]]) -> list[Task]:
    seeds = place.case.seeds
    return [
        place.task(seed, _analyse, part) for seed in seeds for part in parts(place.case, first=seed == seeds[0])
    ]  # fmt: skip


def _train(out_dir: Path, subject: Subject, model: str) -> None:
    getattr(subject, model)


def _analyse(out_dir: Path, subject: Subject, part: Callable[[Path, Anatomy], Any]) -> None:
    part(out_dir, Anatomy(subject))


_HELD: dict[str, Subject] = {}
"""By case, the subject that this process works on."""


def _do(place: Place, seed: int, run: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    case = place.case
    if case.name not in _HELD or _HELD[case.name].seed != seed:
        _HELD[case.name] = Subject(case, seed, place.out_dir / "models", place.data)
    with threads(case):
        return run(place.out_dir, _HELD[case.name], *arguments)
