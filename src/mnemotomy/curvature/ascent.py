"""The steps of a two-sided edit: their direction, with the retain set repaired along the way, and their length."""

from __future__ import annotations

import contextlib
import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import nn

from mnemotomy.core.errors import NonFiniteError
from mnemotomy.curvature.kronecker import KroneckerFactors
from mnemotomy.curvature.line_search import reach
from mnemotomy.curvature.weight_gradients import Matrices, inner, train_as, train_only
from mnemotomy.engram.sites.base import WeightAndBias


class Ascent(NamedTuple):
    """Where one step goes.

    Attributes:
        deltas: by site, of the canonical weight.
        slope: how fast what is to rise does so along it, to first order, per unit of length.
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
        """``u / ‖u‖ − ρ v / ‖v‖`` with ``v = F⁻¹ ∇L_retain``, norms in the metric F, as long as ``u``.

        It is the ascent itself where repairing would undo the forgetting.

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
    """What a step's length is searched for.

    Attributes:
        level: of the number that rises.
        tolerance: how near to it is near enough.
        evaluations: the most lengths to try.
        first: the length that is tried first.
    """

    level: float
    tolerance: float
    evaluations: int
    first: float


def climb(sites: Mapping[str, WeightAndBias], ascent: Ascent, aim: Aim, value: Callable[[], float]) -> float:
    """Move along an ascent to where ``value`` is what is aimed at, and give the value there.

    Raises:
        NonFiniteError: it is finite at no length that is tried; the sites are then as they were.
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
        raise NonFiniteError("two-sided: the model breaks at every length that was tried; take a larger damping")
    go(found.length)
    return found.value


class Pull(NamedTuple):
    """What one step is to do.

    Attributes:
        gradients: ``∇L_forget``.
        aim: given the slope of the direction that is taken, what its length is searched for.
    """

    gradients: Matrices
    aim: Callable[[float], Aim]


class TwoSidedRun(ABC):
    """A two-sided edit under way: what the kinds of model have in common.

    Attributes:
        sites: what is edited.
        factors: of the retain set's Fisher matrix, those of the first step.
        steps: how many there are to be.
        damping: δ.
        repair: ρ, the weight of ``Ascent.repairing`` from the second step on.
    """

    sites: Mapping[str, WeightAndBias]
    factors: KroneckerFactors

    def __init__(self, steps: int, damping: float, repair: float) -> None:
        self.steps, self.damping, self.repair = steps, damping, repair

    def run(self) -> None:
        """All steps, as long as there is something left to do."""
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
        """What step ``number`` is to do; None where nothing is left."""

    @abstractmethod
    def retaining(self) -> Matrices:
        """``∇L_retain`` by now."""

    @abstractmethod
    def value(self) -> float:
        """The number that is to rise, by now."""

    @abstractmethod
    def reached(self, value: float) -> None:
        """Told what a step has come to."""


@contextlib.contextmanager
def edited_copy(
    model: nn.Module, sites_of: Callable[[nn.Module], dict[str, WeightAndBias]]
) -> Iterator[tuple[nn.Module, dict[str, WeightAndBias]]]:
    """A copy of a model in evaluation mode and its sites, which alone require gradients inside."""
    copied = copy.deepcopy(model).eval()
    sites = sites_of(copied)
    train_only(copied, sites)
    yield copied, sites
    train_as(copied, model)
