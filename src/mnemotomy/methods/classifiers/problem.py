"""What an unlearning method is given: a trained model, what to forget, what to keep. Never a test example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mnemotomy.core.errors import ConceptError, DataError
from mnemotomy.data.examples import Examples
from mnemotomy.methods.base import Method, Models


@dataclass(frozen=True)
class Problem:
    """One request to forget.

    Attributes:
        model: trained on both sets; methods leave it as it is.
        forget: the training examples ``X⁺`` to forget.
        retain: the other training examples, ``X⁻``.
        classes: how many the model tells apart.
        fresh: makes an untrained model of the same architecture, from the same seed.
        fit: the original training; takes an untrained model and the examples, and gives the trained model back.
        seed: of whatever a method draws at random.

    Raises:
        ConceptError: one of the sets is empty.
        DataError: a label is not in ``0 … classes − 1``, there are fewer than two classes, or the sets' inputs differ
            in shape.
    """

    model: nn.Module
    forget: Examples
    retain: Examples
    classes: int
    fresh: Callable[[], nn.Module]
    fit: Callable[[nn.Module, Examples], nn.Module]
    seed: int = 0

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise DataError(f"unlearning needs at least two classes, not {self.classes}")
        for name, examples in (("forget", self.forget), ("retain", self.retain)):
            if not len(examples):
                raise ConceptError(f"there is nothing to {name}: that set is empty; name a class that has examples")
            lowest, highest = int(examples.labels.min()), int(examples.labels.max())
            if lowest < 0 or highest >= self.classes:
                wrong = lowest if lowest < 0 else highest
                raise DataError(f"label {wrong} in the {name} set is none of 0 … {self.classes - 1}")
        kept, forgotten = self.retain.inputs.shape[1:], self.forget.inputs.shape[1:]
        if kept != forgotten:
            raise DataError(f"inputs to forget have shape {list(forgotten)}, those to retain {list(kept)}; resize them")


class ClassifierMethod(Method[Problem]):
    """An unlearning method for classifiers."""

    models: ClassVar[Models] = "classifiers"
