"""The input of an unlearning method: a trained model, the forget set and the retain set. Never a test example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mnemotomy.core.errors import ConceptError, ConfigurationError, DataError
from mnemotomy.data.examples import Examples
from mnemotomy.methods.base import Method, Models


def _not_given(*_: object) -> nn.Module:
    raise ConfigurationError("this method trains a model anew; give the problem's fresh and fit")


@dataclass(frozen=True)
class Problem:
    """One request to forget.

    Attributes:
        model: trained on both sets; methods do not change it.
        forget: the training examples ``X⁺`` to forget.
        retain: the other training examples, ``X⁻``.
        classes: the number of classes.
        fresh: makes an untrained model of the same architecture, from the same seed; only for training anew.
        fit: the original training; takes an untrained model and examples, and returns the trained model.
        seed: for everything a method draws at random.

    Raises:
        ConceptError: one of the sets is empty.
        DataError: a label is outside ``0 … classes − 1``, there are fewer than two classes, or the two sets' inputs
            differ in shape.
    """

    model: nn.Module
    forget: Examples
    retain: Examples
    classes: int
    fresh: Callable[[], nn.Module] = _not_given
    fit: Callable[[nn.Module, Examples], nn.Module] = _not_given
    seed: int = 0

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise DataError(f"unlearning needs at least two classes, not {self.classes}")
        for name, examples in (("forget", self.forget), ("retain", self.retain)):
            if not len(examples):
                raise ConceptError(f"the {name} set is empty; name a class that has examples")
            lowest, highest = int(examples.labels.min()), int(examples.labels.max())
            if lowest < 0 or highest >= self.classes:
                wrong = lowest if lowest < 0 else highest
                raise DataError(
                    f"label {wrong} in the {name} set is not in 0 … {self.classes - 1}; correct it or classes"
                )
        kept, forgotten = self.retain.inputs.shape[1:], self.forget.inputs.shape[1:]
        if kept != forgotten:
            raise DataError(f"forget inputs have shape {list(forgotten)}, retain inputs {list(kept)}; resize them")


class ClassifierMethod(Method[Problem]):
    """An unlearning method for classifiers."""

    models: ClassVar[Models] = "classifiers"
