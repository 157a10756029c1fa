"""One case with one seed: the models that every method starts from and is compared with."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mnemotomy.core.errors import DataError
from mnemotomy.core.fingerprints import digest, fingerprint
from mnemotomy.core.precision import resolved
from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.gradient import ClassifierGradientMethod
from mnemotomy.methods.classifiers.problem import ClassifierMethod, Problem
from mnemotomy_bench.classwise.cases import Case
from mnemotomy_bench.classwise.observing import Seen, see
from mnemotomy_bench.classwise.training import fresh, load_superclasses, train
from mnemotomy_bench.lab.resources import Usage, single_threaded
from mnemotomy_bench.metrics.tug_of_war import Accuracies
from mnemotomy_bench.vision.examples import load_examples, some


@dataclass(frozen=True)
class View:
    """The observations of one model on the sets that the metrics read."""

    forget: Seen
    retain: Seen
    test: Seen

    @property
    def accuracies(self) -> Accuracies:
        """What Tug-of-War compares."""
        return Accuracies(self.forget.accuracy, self.retain.accuracy, self.test.accuracy)


class Subject:
    """The original and the retrained model of one seed, their data, and those of another seed.

    Args:
        case: what is trained and forgotten.
        seed: of the original and of the retrained model.
        cache_dir: where trained models are kept.
        data: the folder of data sets; ``MNEMOTOMY_DATA`` by default.

    Raises:
        DataError: the data does not have the class to forget.
    """

    def __init__(self, case: Case, seed: int, cache_dir: Path, data: Path | None = None) -> None:
        self.case, self.seed, self.cache_dir, self.data = case, seed, cache_dir, data
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        train_set, self.class_names = load_examples(case.data, "train", data)
        test_set, _ = load_examples(case.data, "test", data)
        self.train = train_set.to(self.device)
        self.test = some(test_set, case.test_images).to(self.device)
        if not 0 <= case.forget < self.classes:
            raise DataError(f"class {case.forget} is not in 0 … {self.classes - 1}; choose one that is")

    @property
    def bfloat16(self) -> bool:
        """Whether gradient methods run under autocast."""
        return self.case.bfloat16 and resolved("auto", self.device) == "bf16"

    @property
    def classes(self) -> int:
        """How many classes the network has."""
        return len(self.class_names)

    @cached_property
    def superclasses(self) -> Mapping[str, Sequence[int]]:
        """Classes by superclass: the case's, or CIFAR-100's own; empty if there are none."""
        return self.case.superclasses or load_superclasses(self.case.data, self.data)

    @cached_property
    def original(self) -> nn.Module:
        """Trained on everything."""
        return self._trained(self.train)[0]

    @cached_property
    def retrained(self) -> nn.Module:
        """Trained on everything but the class to forget, from the original's own initialisation."""
        return self._trained(self._without_forgotten)[0]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What results depend on besides the method: the models and how they are measured."""
        case = self.case
        return {
            "case": [case.name, case.data, case.forget, case.features, self.bfloat16],
            "read": [case.read, case.test_images, case.given, case.retained, case.subset_images],
            "relearning": asdict(case.relearning),
            "models": [fingerprint(model) for model in self._models],
            "test": [digest(self.test.inputs), digest(self.test.labels)],  # the models stand for the training data
            "device": self.device.type,
        }

    @property
    def retraining(self) -> Usage:
        """The cost of retraining, when it was done."""
        return self._trained(self._without_forgotten)[1]

    @cached_property
    def _without_forgotten(self) -> Examples:
        return self.train[self.train.labels != self.case.forget]

    @cached_property
    def problem(self) -> Problem:
        """The request to forget the case's class."""
        return self.problem_of(self.case.forget)

    @cached_property
    def given(self) -> Examples:
        """The training examples that closed-form methods are given."""
        return some(self.train, self.case.given)

    @property
    def _models(self) -> tuple[nn.Module, ...]:
        return (self.original,) if self.case.matrices_only else (self.original, self.retrained)

    def problem_for(self, method: ClassifierMethod) -> Problem:
        """The request that ``method`` gets, perhaps with fewer examples than for retraining."""
        return self.gradient_problem if isinstance(method, ClassifierGradientMethod) else self.closed_form_problem

    @cached_property
    def gradient_problem(self) -> Problem:
        """The request to forget the case's class, with the retained examples that gradient methods see."""
        return replace(self.problem, retain=some(self.problem.retain, self.case.retained))

    @cached_property
    def closed_form_problem(self) -> Problem:
        """The request to forget the case's class, with the examples that closed-form methods read."""
        return self.problem_of(self.case.forget, examples=self.given)

    def problem_of(self, *classes: int, examples: Examples | None = None) -> Problem:
        """The request to forget these classes, by default with every training example."""
        examples = self.train if examples is None else examples
        chosen = torch.isin(examples.labels, torch.tensor(classes, device=self.device))
        return Problem(
            self.original, examples[chosen], examples[~chosen], self.classes,
            fresh=self._fresh,
            fit=lambda model, examples: train(self.case, self.seed, model, examples, self.cache_dir)[0],
            seed=self.seed,
        )  # fmt: skip

    def partner(self) -> Subject:
        """The same case with the next seed: which the retrained model is compared with (Appendix B.4.1)."""
        seeds = self.case.seeds
        place = seeds.index(self.seed) if self.seed in seeds else -1
        other = seeds[(place + 1) % len(seeds)] if place >= 0 and len(seeds) > 1 else self.seed + 1
        return Subject(self.case, other, self.cache_dir, self.data)

    def view(self, model: nn.Module) -> View:
        """Observations of ``model`` on the read parts of forget and retain set, and on the test set."""
        return View(*(see(model, examples) for examples in (*self._read, self.test)))

    @cached_property
    def original_view(self) -> View:
        """Observations of the original."""
        return self.view(self.original)

    @cached_property
    def retrained_view(self) -> View:
        """Observations of the retrained model."""
        return self.view(self.retrained)

    @cached_property
    def _read(self) -> tuple[Examples, Examples]:
        return some(self.problem.forget, self.case.read), some(self.problem.retain, self.case.read)

    def _trained(self, examples: Examples) -> tuple[nn.Module, Usage]:
        return train(self.case, self.seed, self._fresh(), examples, self.cache_dir)

    def _fresh(self) -> nn.Module:
        return fresh(self.case, self.seed, self.train.inputs.shape[1:], self.classes).to(self.device)


def threads(case: Case) -> contextlib.AbstractContextManager[None]:
    """One thread, if the case asks for it."""
    return single_threaded() if case.single else contextlib.nullcontext()
