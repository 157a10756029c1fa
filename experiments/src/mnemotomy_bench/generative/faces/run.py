"""The runs of the faces: cases × methods × seeds, each cached by content, and the figures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mnemotomy.core.progress import progress_bar
from mnemotomy_bench.generative.faces.arithmetic import arithmetic
from mnemotomy_bench.generative.faces.cases import FaceCase, face_cases
from mnemotomy_bench.generative.faces.choosing import best, trials
from mnemotomy_bench.generative.faces.engrams import CANDIDATES, Setting, Shift
from mnemotomy_bench.generative.faces.measure import measure, measure_autoencoder, measure_truth
from mnemotomy_bench.generative.faces.methods import METHODS, FaceMethod, describe, engrams_of
from mnemotomy_bench.generative.faces.pictures import write_case_figures
from mnemotomy_bench.generative.faces.subject import FaceSubject
from mnemotomy_bench.generative.faces.summary import TRUTH, summary
from mnemotomy_bench.generative.records import FacesRecord
from mnemotomy_bench.lab.cells import Record, cached
from mnemotomy_bench.lab.pool import Plan, Task
from mnemotomy_bench.lab.resources import single_threaded


def run_faces(
    out_dir: Path, *, scale: str, seeds: Sequence[int] | None = None, data: Path | None = None
) -> list[FacesRecord]:
    """One record per case and method: means over attributes and seeds, ``…_spread`` over seeds.

    The settings of ``engram-automatic`` are chosen on validation faces of the first seed and used for all seeds.
    ``truth`` is not a method: it is what the classifier reads from a perfect edit, for drawn faces.

    Args:
        out_dir: for faces, models and cells; finished results are reused.
        scale: ``tiny``, ``small`` or ``paper``.
        seeds: override those of the scale.
        data: the folder of data sets; ``MNEMOTOMY_DATA`` by default.

    Raises:
        ConfigurationError: there is no such scale.
        DataError: Pillow is missing, or photographs are damaged.
    """
    records: list[FacesRecord] = []
    for case in face_cases(scale, seeds, data):
        records += run_case(out_dir, case)
    return records


def write_face_figures(
    out_dir: Path, *, scale: str, seeds: Sequence[int] | None = None, data: Path | None = None
) -> list[Path]:
    """``<case>-sliders.png``, ``-sliders-paper.png``, ``-arithmetic.png`` and ``-curves.png``, of the first seed.

    Arguments and errors as for ``run_faces``, whose results are read from their cells.
    """
    found: list[Path] = []
    for case in face_cases(scale, seeds, data):
        records = run_case(out_dir, case)
        with _threads():
            subject = FaceSubject(case, case.seeds[0], out_dir)
            chosen = choose(out_dir, subject)
            found += write_case_figures(subject, chosen, records, out_dir)
    return found


def run_case(out_dir: Path, case: FaceCase) -> list[FacesRecord]:
    """The records of one case."""
    cells: dict[str, list[Record]] = {name: [] for name in (TRUTH, *METHODS)}
    chosen: list[Setting | Shift] = []
    with _threads(), progress_bar(case.name, len(case.seeds) * len(cells)) as advance:
        for seed in case.seeds:
            subject = FaceSubject(case, seed, out_dir)
            chosen = chosen or choose(out_dir, subject)
            for name, cell in _of_seed(out_dir, subject, chosen):
                cells[name].append(cell)
                advance(1, name)
    return [
        summary(case, name, found, describe(METHODS[name], case.attributes, chosen) if name in METHODS else None)
        for name, found in cells.items()
        if found
    ]


def case_plan(out_dir: Path, case: FaceCase) -> Plan:
    """Tasks for processes, so that ``run_case`` finds everything cached."""
    first, *others = case.seeds
    yield [Task(_do, (out_dir, case, first, part)) for part in (_draw, _classify)]
    yield [
        Task(_do, (out_dir, case, first, choose)), *(Task(_do, (out_dir, case, seed, _draw)) for seed in others)
    ]  # fmt: skip
    yield [Task(_do, (out_dir, case, seed, _measure)) for seed in case.seeds]


def _do(out_dir: Path, case: FaceCase, seed: int, part: Callable[[Path, FaceSubject], object]) -> None:
    with _threads():
        part(out_dir, FaceSubject(case, seed, out_dir))


def _draw(_: Path, subject: FaceSubject) -> object:
    return subject.autoencoder


def _classify(_: Path, subject: FaceSubject) -> object:
    return subject.classifier


def _measure(out_dir: Path, subject: FaceSubject) -> None:
    first = FaceSubject(subject.case, subject.case.seeds[0], out_dir)
    dict(_of_seed(out_dir, subject, choose(out_dir, first)))


def _of_seed(out_dir: Path, subject: FaceSubject, chosen: Sequence[Setting | Shift]) -> Iterator[tuple[str, Record]]:
    """The numbers of one seed by method; with ``truth`` if there is one."""
    drawn = {"seed": subject.seed, **_cell(out_dir, subject, {"part": "autoencoder"}, measure_autoencoder)}
    truth = _cell(out_dir, subject, {"part": TRUTH}, lambda s: {"found": measure_truth(s)})["found"]
    if truth is not None:
        yield TRUTH, {**drawn, **truth}
    for name, method in METHODS.items():
        yield name, {**drawn, **method_cell(out_dir, subject, method, chosen)}


def choose(out_dir: Path, subject: FaceSubject) -> list[Setting | Shift]:
    """For each attribute, the setting that leaves and disturbs least."""
    what = {"part": "choice", "candidates": [setting.describe() for setting in CANDIDATES]}

    def run(subject: FaceSubject) -> Record:
        found = {name: trials(subject, place, CANDIDATES) for place, name in enumerate(subject.case.attributes)}
        return {
            "chosen": [best(tried).place for tried in found.values()],
            "trials": {name: [asdict(trial) for trial in tried] for name, tried in found.items()},
        }

    return [CANDIDATES[place] for place in _cell(out_dir, subject, what, run)["chosen"]]


def method_cell(out_dir: Path, subject: FaceSubject, method: FaceMethod, chosen: Sequence[Setting | Shift]) -> Record:
    """The numbers of one method on one seed."""
    settings = describe(method, subject.case.attributes, chosen)

    def run(subject: FaceSubject) -> Record:
        engrams = engrams_of(subject, method, chosen)
        return {**measure(subject, engrams), "arithmetic": arithmetic(subject, engrams)}

    return _cell(out_dir, subject, {"part": "method", "method": method.name, "settings": settings}, run)


def _cell(out_dir: Path, subject: FaceSubject, what: Record, run: Any) -> Record:
    return cached(out_dir, {"bench": "faces"} | what | subject.identity, lambda: run(subject))


@contextlib.contextmanager
def _threads() -> Iterator[None]:
    """One thread if there is no accelerator."""
    with contextlib.nullcontext() if torch.cuda.is_available() else single_threaded():
        yield
