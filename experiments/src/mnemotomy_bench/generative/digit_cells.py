"""One digit forgotten by one method on one seed, measured once; and what all methods of a seed share."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

from mnemotomy.core.errors import TrainingError
from mnemotomy_bench.generative.autoencoder import Subject
from mnemotomy_bench.generative.baselines import ORIGINAL, RETRAIN, Ascent, FineTune
from mnemotomy_bench.generative.erasing import Erasure
from mnemotomy_bench.generative.measure import measure
from mnemotomy_bench.generative.observing import packed
from mnemotomy_bench.generative.records import Cell
from mnemotomy_bench.lab.cells import Record, cached

Method = Ascent | FineTune | Erasure


def baseline_cell(out_dir: Path, subject: Subject) -> Record:
    """The original and the retrained model, the error that counts as erased, and a test image of each digit."""

    def run() -> Record:
        digit = subject.case.forget
        return {
            ORIGINAL: {**measure(subject.original, subject, digit), "failed": None, "seconds": 0.0},
            RETRAIN: {
                **measure(subject.retrained, subject, digit),
                "failed": None,
                "seconds": subject.retraining.seconds,
            },
            "erased_at": subject.erased_at.tolist(),
            "images": packed(subject.samples),
            "classes": list(subject.class_names),
        }

    return cached(out_dir, subject.identity | {"measured": "baselines"}, run)


def extraction_cell(out_dir: Path, subject: Subject) -> Record:
    """The time of one collection and one factorisation, which serve all digits."""

    def run() -> Record:
        start = time.perf_counter()
        _ = subject.atlas
        return {"seconds": time.perf_counter() - start}

    return cached(out_dir, subject.identity | {"measured": "extraction"}, run)


def method_cell(out_dir: Path, subject: Subject, method: Method, digit: int) -> Cell:
    """One digit forgotten by one method; ``failed`` says why there are no numbers if training diverged."""

    def run() -> Record:
        try:
            outcome = method(subject, digit)
        except TrainingError as error:
            return {"failed": str(error), "digit": digit}
        numbers = measure(outcome.model, subject, digit)
        return {**numbers, "failed": None, "seconds": outcome.seconds, "config": outcome.config}

    identity = {"method": method.name, "config": method.config(subject.case), "digit": digit}
    return cast(Cell, cached(out_dir, subject.identity | identity, run))
