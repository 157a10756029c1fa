"""What erasing is compared with: gradient ascent on the digit's error, fine-tuning on the others, retraining."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mnemotomy.core.errors import TrainingError
from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.gradient import SGDSettings, train_by_sgd
from mnemotomy_bench.generative.autoencoder import Subject
from mnemotomy_bench.generative.cases import Case
from mnemotomy_bench.generative.choosing import Outcome, Trial
from mnemotomy_bench.generative.observing import mean_error
from mnemotomy_bench.vision.networks.conv_autoencoder import ConvAutoencoder

ORIGINAL, RETRAIN = "original", "retrain"

Pair = tuple[Examples, Examples]


@dataclass(frozen=True)
class Ascent:
    """NegGrad and NegGrad+ with squared errors: ``β · MSE(X⁻) − (1 − β) · MSE(X⁺)``, until the digit is erased.

    SGD with momentum. Training ends when a check, every ``look`` steps, finds the digit erased on the training images
    that settings are chosen on, or after ``steps``: unbounded ascent would ruin everything. The learning rate is the
    one that erases and leaves the others the lowest error, on training images.
    """

    name: str
    title: str
    beta: float = 0.0
    rates: tuple[float, ...] = (0.3, 0.1, 0.03)
    steps: int = 200
    look: int = 1

    def config(self, case: Case) -> dict[str, Any]:
        """The settings that are tried."""
        return {"beta": self.beta, "learning_rates": list(self.rates), "steps": self.steps, "look": self.look}

    def digits(self, case: Case, classes: int) -> tuple[int, ...]:
        """The digits to forget: all if training is short, that is, if nothing protects the others."""
        return tuple(range(classes)) if case.thorough or not self.beta else (case.forget,)

    def __call__(self, subject: Subject, digit: int) -> Outcome:
        """A copy of the original, trained further."""
        start = time.perf_counter()
        tried: list[tuple[Trial, ConvAutoencoder]] = []
        for rate in self.rates:
            model = copy.deepcopy(subject.original)
            try:
                taken = self._ascend(model, subject, digit, rate)
            except TrainingError:
                continue
            own, others = (mean_error(model, read) for read in (subject.read_own(digit), subject.read_others(digit)))
            config = {"learning_rate": rate, "steps": taken, "beta": self.beta}
            tried.append((Trial(own, others, own >= float(subject.erased_at[digit]), config), model))
        if not tried:
            raise TrainingError(f"{self.name}: diverged at every learning rate of {list(self.rates)}; add a lower one")
        choice, model = max(tried, key=lambda one: one[0].rank)
        return Outcome(model, choice.config, time.perf_counter() - start)

    def _ascend(self, model: ConvAutoencoder, subject: Subject, digit: int, rate: float) -> int:
        """Train in place; returns the number of steps."""
        settings = SGDSettings(rate, epochs=1, batch_size=subject.case.batch_size, weight_decay=0.0)
        own, others, read = subject.own(digit), subject.others(digit), subject.read_own(digit)
        target, taken = float(subject.erased_at[digit]), 0

        def pairs(generator: torch.Generator) -> Iterator[Pair]:
            nonlocal taken
            endless = zip(_endless(own, settings, generator), _endless(others, settings, generator), strict=True)
            for pair in itertools.islice(endless, self.steps):
                if taken % self.look == 0 and mean_error(model, read) >= target:
                    return
                taken += 1
                yield pair

        def loss(model: nn.Module, pair: Pair) -> Tensor:
            forget, retain = pair
            kept = self.beta * _error(model, retain) if self.beta else 0.0
            return kept - (1.0 - self.beta) * _error(model, forget)

        train_by_sgd(model, pairs, loss, settings, seed=subject.seed, name=self.name)
        return taken


@dataclass(frozen=True)
class FineTune:
    """Trained further on the other digits alone, with the original's optimiser settings but SGD."""

    name: str = "fine-tune"
    title: str = "Fine-tune"
    learning_rate: float = 0.1

    def config(self, case: Case) -> dict[str, Any]:
        """How it is trained."""
        return {"learning_rate": self.learning_rate, "epochs": case.tuned_epochs}

    def digits(self, case: Case, classes: int) -> tuple[int, ...]:
        """The digits to forget: only the case's."""
        return (case.forget,)

    def __call__(self, subject: Subject, digit: int) -> Outcome:
        """A copy of the original, trained further."""
        start = time.perf_counter()
        case, others = subject.case, subject.others(digit)
        settings = SGDSettings(self.learning_rate, case.tuned_epochs, case.batch_size, weight_decay=0.0)
        model = copy.deepcopy(subject.original)
        train_by_sgd(
            model, lambda generator: others.batches(settings.batch_size, generator), _error, settings,
            seed=subject.seed, name=self.name,
        )  # fmt: skip
        return Outcome(model, self.config(case), time.perf_counter() - start)


BASELINES: dict[str, Ascent | FineTune] = {
    one.name: one
    for one in (
        FineTune(),
        Ascent("neggrad", "NegGrad"),
        Ascent("neggrad-plus", "NegGrad+", beta=0.9, rates=(1.0, 0.3, 0.1), look=5),
    )
}


def _endless(examples: Examples, settings: SGDSettings, generator: torch.Generator) -> Iterator[Examples]:
    return itertools.chain.from_iterable(
        examples.batches(settings.batch_size, generator) for _ in itertools.repeat(None)
    )


def _error(model: nn.Module, batch: Examples) -> Tensor:
    return nn.functional.mse_loss(model(batch.inputs), batch.inputs)
