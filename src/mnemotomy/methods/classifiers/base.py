"""What every unlearning method is: hyperparameters, a source, a search space, and one call."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, cast

from torch import nn

from mnemotomy.methods.classifiers.problem import Problem

Family = Literal["baseline", "closed form", "gradient", "hybrid"]


class MethodInfo(ABC):
    """A method as registries list it; a subclass is a frozen dataclass whose fields are its hyperparameters.

    Attributes:
        name: in the registry, the command line and artifacts.
        title: as the tables of arXiv 2606.14997 spell it.
        paper: where the method comes from.
        family: ``closed form`` adds one or a few terms to the weights, which no optimiser follows; ``hybrid`` has one
            start from there; ``baseline`` is what the others are measured by.
        cost: what it takes, in passes over the examples, as ``mnemotomy methods`` shows it.
        search_space: the values that a grid search tries, by field.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    family: ClassVar[Family]
    cost: ClassVar[str]
    search_space: ClassVar[Mapping[str, Sequence[Any]]] = {}

    @classmethod
    def grid(cls) -> Iterator[Self]:
        """Every configuration of the search space; the defaults alone where there is none."""
        for values in itertools.product(*cls.search_space.values()):
            yield cast(Any, cls)(**dict(zip(cls.search_space, values, strict=True)))


class Method(MethodInfo):
    """An unlearning method for classifiers."""

    @abstractmethod
    def __call__(self, problem: Problem) -> nn.Module:
        """A new model that has forgotten, in evaluation mode; the problem's own is left as it was."""
