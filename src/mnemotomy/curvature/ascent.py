"""The steps of a two-sided edit: their direction, with the retain set repaired along the way, and their length."""

from __future__ import annotations

import contextlib
import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import nn

from mnemotomy.core.errors import NonFiniteError
from mnemotomy.curvature.kronecker import KroneckerFactors
from mnemotomy.curvature.line_search import reach
from mnemotomy.curvature.weight_gradients import Matrices, inner, train_as, train_only
from mnemotomy.engram.sites.base import WeightAndBias

S = TypeVar("S")


class Ascent(NamedTuple):
    """The direction of one step.

    Attributes:
        deltas: by site, of the canonical weight.
        slope: first-order rise of the objective per unit of length.
    """

    deltas: Matrices
    slope: float

    @classmethod
    def of(cls, forgetting: Matrices, factors: KroneckerFactors, damping: float) -> Ascent:
        """``u = F⁻¹ ∇L_forget``."""
        deltas = factors.solve(forgetting, damping)
        return cls(deltas, inner(deltas, forgetting))

    def repairing(
        self, forgetting: Matrices, retaining: Matrices, factors: KroneckerFactors, damping: float, repair: float
    ) -> Ascent:
        """``u / ‖u‖ − ρ v / ‖v‖`` with ``v = F⁻¹ ∇L_retain``, norms in the metric F, scaled to the length of ``u``.

        If repairing would undo the forgetting, the ascent itself is returned.

        Args:
            forgetting: ``∇L_forget``.
            retaining: ``∇L_retain``.
            factors: of F.
            damping: of its inverse.
            repair: ρ.
        """
        back = factors.solve(retaining, damping)
        square = inner(back, retaining)
        ratio = repair * math.sqrt(self.slope / square) if square > 0.0 else 0.0
        deltas = {name: delta - ratio * back[name] for name, delta in self.deltas.items()}
        slope = inner(deltas, forgetting)
        return Ascent(deltas, slope) if slope > 0.0 else self


class Aim(NamedTuple):
    """What the search for a step's length aims at.

    Attributes:
        level: that the objective should reach.
        tolerance: the distance from the level that is near enough.
        evaluations: the most lengths to try.
        first: the first length to try.
    """

    level: float
    tolerance: float
    evaluations: int
    first: float


def climb(sites: Mapping[str, WeightAndBias], ascent: Ascent, aim: Aim, value: Callable[[], float]) -> float:
    """Move along an ascent to where ``value`` reaches the aim, and return the value there.

    Raises:
        NonFiniteError: the value is not finite at any length tried; the sites are then restored.
    """
    start = {place: getattr(*place).detach().clone() for site in sites.values() for place in site.parameters}

    def go(length: float) -> None:
        with torch.no_grad():
            for (owner, leaf), weight in start.items():
                getattr(owner, leaf).copy_(weight)
        for name, site in sites.items() if length else ():
            site.add_(length * ascent.deltas[name])

    def at(length: float) -> float:
        go(length)
        return value()

    found = reach(at, aim.level, aim.first, tolerance=aim.tolerance, evaluations=aim.evaluations)
    if not math.isfinite(found.value):
        go(0.0)
        raise NonFiniteError("two-sided: the model breaks at every length tried; choose a larger damping")
    go(found.length)
    return found.value


class SharedStart:
    """What two-sided edits of one problem start from: factors, and whatever else damping and repairs do not change.

    The last start is kept, until another problem or other settings replace it.
    """

    def __init__(self) -> None:
        self._problem: Any = None
        self._settings: Any = None
        self._start: Any = None

    def of(self, problem: Any, settings: Any, compute: Callable[[], S]) -> S:
        """The start of a problem with these settings, computed unless it is the one that was kept."""
        if self._problem is not problem or self._settings != settings:
            self.release()  # before another one takes as much memory
            self._start = compute()
            self._problem, self._settings = problem, settings
        return cast(S, self._start)

    def release(self) -> None:
        """Free the memory."""
        self._problem = self._settings = self._start = None


class Pull(NamedTuple):
    """What one step should do.

    Attributes:
        gradients: ``∇L_forget``.
        aim: of the search for the step's length, given the slope of its direction.
    """

    gradients: Matrices
    aim: Callable[[float], Aim]


class TwoSidedRun(ABC):
    """A two-sided edit in progress: the part that is common to classifiers and language models.

    Attributes:
        sites: to edit.
        factors: of the retain set's Fisher matrix, computed once before the first step.
        steps: the most steps to take.
        damping: δ.
        repair: ρ, the weight of ``Ascent.repairing`` from the second step on.
    """

    sites: Mapping[str, WeightAndBias]
    factors: KroneckerFactors

    def __init__(self, steps: int, damping: float, repair: float) -> None:
        self.steps, self.damping, self.repair = steps, damping, repair

    def run(self) -> None:
        """Take all steps, or fewer if nothing is left to do."""
        for number in range(self.steps):
            pull = self.pull(number)
            if pull is None:
                break
            ascent = Ascent.of(pull.gradients, self.factors, self.damping)
            if not ascent.slope > 0.0:
                break
            if self.repair and number:
                ascent = ascent.repairing(pull.gradients, self.retaining(), self.factors, self.damping, self.repair)
            self.reached(climb(self.sites, ascent, pull.aim(ascent.slope), self.value))

    @abstractmethod
    def pull(self, number: int) -> Pull | None:
        """What step ``number`` should do; None if nothing is left."""

    @abstractmethod
    def retaining(self) -> Matrices:
        """The present ``∇L_retain``."""

    @abstractmethod
    def value(self) -> float:
        """The present value of the objective, which should rise."""

    @abstractmethod
    def reached(self, value: float) -> None:
        """Receives the value after each step."""


@contextlib.contextmanager
def edited_copy(
    model: nn.Module, sites_of: Callable[[nn.Module], dict[str, WeightAndBias]]
) -> Iterator[tuple[nn.Module, dict[str, WeightAndBias]]]:
    """A copy of a model in evaluation mode, and its sites; inside, only they require gradients."""
    copied = copy.deepcopy(model).eval()
    sites = sites_of(copied)
    train_only(copied, sites)
    yield copied, sites
    train_as(copied, model)
