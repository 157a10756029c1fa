"""The interface of every unlearning method: hyperparameters, a source, a search space, and one call."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, cast

from torch import nn

Models = Literal["classifiers", "language models"]
Family = Literal["baseline", "closed form", "gradient", "hybrid"]
Scale = Literal["small", "paper"]

ENGRAM = "Kwon et al. 2026, AI Engram: In Search of Memory Traces in Artificial Intelligence"
OURS = f"ours, on {ENGRAM}"

P = TypeVar("P")


@dataclass(frozen=True)
class SearchSpace:
    """The values that a grid search tries, by field; every other field keeps its default.

    Attributes:
        paper: the published values; for language models, those for a billion parameters.
        small: for language models with a few million parameters; None for the same values.
    """

    paper: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    small: Mapping[str, Sequence[Any]] | None = None

    def at(self, scale: Scale) -> Mapping[str, Sequence[Any]]:
        """The values of a scale."""
        return self.paper if scale == "paper" or self.small is None else self.small


class Method(ABC, Generic[P]):
    """An unlearning method; a subclass is a frozen dataclass whose fields are its hyperparameters.

    Attributes:
        models: the kind of model it edits.
        name: in the registry, the command line and artifacts.
        title: as the tables of arXiv 2606.14997 spell it.
        paper: where the method comes from.
        family: ``closed form`` adds a few terms to the weights without an optimiser; ``hybrid`` trains from there;
            ``baseline`` is the point of comparison.
        cost: in passes over the examples, as ``mnemotomy methods`` shows it.
        search_space: the values that a grid search tries; none for the defaults alone.
        draws: whether the result depends on the problem's seed, so that one run does not show the variance.
        needs: what a problem must have besides a model and both sets: ``pretrained``, ``questions``.

    Raises:
        ConfigurationError: a hyperparameter is out of range.
    """

    models: ClassVar[Models]
    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    family: ClassVar[Family]
    cost: ClassVar[str]
    search_space: ClassVar[SearchSpace] = SearchSpace()
    draws: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __call__(self, problem: P) -> nn.Module:
        """A new model that has forgotten, in evaluation mode; the problem's own model is left unchanged."""

    def material(self) -> Sequence[str]:
        """The content of files that the settings name."""
        return ()

    @classmethod
    def grid(cls, scale: Scale = "paper", values: Mapping[str, Sequence[Any]] | None = None) -> Iterator[Self]:
        """Every configuration of the search space, with ``values`` in place of its own for the fields they name."""
        chosen = {**cls.search_space.at(scale), **(values or {})}
        for some in itertools.product(*chosen.values()):
            yield cast(Any, cls)(**dict(zip(chosen, some, strict=True)))
