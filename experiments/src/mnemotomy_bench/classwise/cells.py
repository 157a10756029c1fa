"""One configuration of a method on one seed: run, measured and cached by content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from mnemotomy.core.errors import TrainingError
from mnemotomy.core.precision import autocast
from mnemotomy.methods.classifiers.gradient import ClassifierGradientMethod
from mnemotomy.methods.classifiers.problem import ClassifierMethod
from mnemotomy_bench.classwise.flops import method_flops, training_flops
from mnemotomy_bench.classwise.grids import ORIGINAL, RETRAIN
from mnemotomy_bench.classwise.measure import References, measure, references
from mnemotomy_bench.classwise.records import Cell
from mnemotomy_bench.classwise.subject import Subject
from mnemotomy_bench.classwise.training import recipe
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.lab.cells import cached as by_content
from mnemotomy_bench.lab.resources import measured


def method_cell(folder: Path, subject: Subject, method: ClassifierMethod) -> Cell:
    """The record of one configuration; ``failed`` says why there are no numbers if training diverged."""

    def run() -> Record:
        halved = subject.bfloat16 and isinstance(method, ClassifierGradientMethod)
        problem = subject.problem_for(method)
        with measured(subject.device) as usage:
            try:
                with autocast(subject.device, "auto" if halved else "no", backward=True):
                    model = method(problem)
            except TrainingError as error:
                return {"failed": str(error)}
        try:
            record = measure(model, subject, references(subject))
        except TrainingError as error:
            return {"failed": str(error)}
        return {
            **record, "failed": None, "bfloat16": halved, "seconds": usage.seconds, "peak_bytes": usage.peak_bytes,
        }  # fmt: skip

    return cast(Cell, cached(folder, subject, {"method": method.name, "config": asdict(cast(Any, method))}, run))


def flops_cell(folder: Path, subject: Subject, method: ClassifierMethod) -> int:
    """The operations of one call of ``method``, counted in a separate run."""
    identity = {"method": method.name, "config": asdict(cast(Any, method)), "counted": "flops"}
    return int(
        cached(folder, subject, identity, lambda: {"flops": method_flops(method, subject.problem_for(method))})["flops"]
    )


def baseline_cell(folder: Path, subject: Subject, name: str) -> Cell:
    """The original or the retrained model.

    Both are compared with the next seed's models, as in the paper: a model resembles itself perfectly. Only the
    original's Tug-of-War and its distance from a retrained model, and a retrained model's from an original, are within
    the seed.
    """

    partner = subject.partner()

    def run() -> Record:
        if name == ORIGINAL:
            against = References(partner.original_view, subject.retrained_view)
            record = measure(subject.original, subject, against)
            return {**record, "failed": None, "seconds": 0.0, "peak_bytes": 0, "flops": 0}
        against = References(subject.original_view, partner.retrained_view)
        flops = training_flops(
            subject.retrained, subject.problem.retain, recipe(subject.case).whole_epochs(subject.train.inputs.shape[-1])
        )
        record = measure(subject.retrained, subject, against)
        return {**record, "failed": None, **vars(subject.retraining), "flops": flops}

    assert name in (ORIGINAL, RETRAIN)
    return cast(Cell, cached(folder, subject, {"method": name, "partner": partner.seed}, run))


def best_place(cells: Sequence[Cell]) -> int:
    """The configuration with the highest Tug-of-War among those that did not diverge; the first if all did."""
    return max(range(len(cells)), key=lambda place: -1.0 if cells[place]["failed"] else cells[place]["tow"])


def cached(folder: Path, subject: Subject, what: Record, run: Callable[[], Record]) -> Record:
    """The record of ``what`` on this subject: read from its file, or computed by ``run``."""
    return by_content(folder, what | subject.identity, lambda: run() | what | {"seed": subject.seed})
