"""One step of a two-sided edit: its direction, with what is to stay repaired along the way, and its length."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from mnemotomy.core.errors import NonFiniteError
from mnemotomy.curvature.kronecker import KroneckerFactors
from mnemotomy.curvature.line_search import reach
from mnemotomy.curvature.weight_gradients import Matrices, inner
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
