"""One case with one seed: the models that every method starts from and is held against."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mnemotomy.bench.classwise.cases import Case
from mnemotomy.bench.classwise.observing import Seen, see
from mnemotomy.bench.classwise.training import fresh, load_examples, train
from mnemotomy.errors import DataError
from mnemotomy.methods.problem import Examples, Problem
from mnemotomy.metrics.tug_of_war import Accuracies
from mnemotomy.models import fingerprint


@dataclass(frozen=True)
class View:
    """What one model shows of the sets that the metrics read."""

    forget: Seen
    retain: Seen
    test: Seen

    @property
    def accuracies(self) -> Accuracies:
        """What Tug-of-War compares."""
        return Accuracies(self.forget.accuracy, self.retain.accuracy, self.test.accuracy)


class Subject:
    """The original and the retrained model of one seed, their data, and the same of another seed.

    Args:
        case: what is trained and forgotten.
        seed: of the original and of the retrained model.
        cache_dir: where trained models are kept.
        data: the folder of data sets; ``MNEMOTOMY_DATA`` where not given.

    Raises:
        DataError: the class to forget is none of the data's.
    """

    def __init__(self, case: Case, seed: int, cache_dir: Path, data: Path | None = None) -> None:
        self.case, self.seed, self.cache_dir, self.data = case, seed, cache_dir, data
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        train_set, self.class_names = load_examples(case, "train", data)
        test_set, _ = load_examples(case, "test", data)
        self.train, self.test = train_set.to(self.device), test_set.to(self.device)
        if not 0 <= case.forget < self.classes:
            raise DataError(f"class {case.forget} is none of 0 … {self.classes - 1}; name one that is there")

    @property
    def classes(self) -> int:
        """How many the network tells apart."""
        return len(self.class_names)

    @cached_property
    def original(self) -> nn.Module:
        """Trained on everything."""
        return self._trained(self.train)[0]

    @cached_property
    def retrained(self) -> nn.Module:
        """Trained on everything but the class to forget, from the original's own initialisation."""
        return self._trained(self.problem.retain)[0]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What results depend on beside the method: the models and how they are measured."""
        case = self.case
        return {
            "case": [case.name, case.data, case.forget, case.read, case.features, case.subset_images, case.bfloat16],
            "relearning": asdict(case.relearning),
            "models": [fingerprint(self.original), fingerprint(self.retrained)],
            "device": self.device.type,
        }

    @property
    def retraining_seconds(self) -> float:
        """What retraining took when it was done."""
        return self._trained(self.problem.retain)[1]

    @cached_property
    def problem(self) -> Problem:
        """The request to forget the case's class."""
        return self.problem_of(self.case.forget)

    def problem_of(self, *classes: int) -> Problem:
        """The request to forget these classes."""
        chosen = torch.isin(self.train.labels, torch.tensor(classes, device=self.device))
        return Problem(
            self.original, self.train[chosen], self.train[~chosen], self.classes,
            fresh=lambda: fresh(self.case, self.seed, self.classes).to(self.device),
            fit=lambda model, examples: train(self.case, self.seed, model, examples, self.cache_dir)[0],
            seed=self.seed,
        )  # fmt: skip

    def partner(self) -> Subject:
        """The same case with the next seed: what the retrained model itself is held against (Appendix B.4.1)."""
        seeds = self.case.seeds
        place = seeds.index(self.seed) if self.seed in seeds else -1
        other = seeds[(place + 1) % len(seeds)] if place >= 0 and len(seeds) > 1 else self.seed + 1
        return Subject(self.case, other, self.cache_dir, self.data)

    def view(self, model: nn.Module) -> View:
        """What ``model`` shows of the examples to forget, of those retained that are read, and of the test set."""
        return View(see(model, self.problem.forget), see(model, self._read), see(model, self.test))

    @cached_property
    def original_view(self) -> View:
        """Of the original."""
        return self.view(self.original)

    @cached_property
    def retrained_view(self) -> View:
        """Of the retrained model."""
        return self.view(self.retrained)

    @cached_property
    def _read(self) -> Examples:
        retain = self.problem.retain
        order = torch.randperm(len(retain), generator=torch.Generator().manual_seed(0))
        return retain[order[: self.case.read].to(self.device)]

    def _trained(self, examples: Examples) -> tuple[nn.Module, float]:
        model = fresh(self.case, self.seed, self.classes).to(self.device)
        return train(self.case, self.seed, model, examples, self.cache_dir)
