"""Functions of μ: how much of a direction is edited when the share μ of it belongs to the concept.

``P = Σ⁺ (Σ⁺+Σ⁻)†`` is similar to a symmetric matrix with eigenvalues μ in [0, 1]. The paper multiplies by μ (Eq. 4); a
direction that the concept shares with everything has μ = n⁺/N, and the filters below treat it differently.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.core.settings import Choice


class Filter(Protocol):
    """A function of μ and of the share ``n⁺/N`` of the rows that are the concept's, with ``f(0) = 0``."""

    def response(self, mu: Float[Tensor, "*groups k"], share: float) -> Float[Tensor, "*groups k"]:
        """The factor of each direction."""


@runtime_checkable
class Linear(Protocol):
    """A filter of the form ``W Σ⁺ D`` with ``D = (Σ_total + damping · I)†`` (Eq. 31), without μ.

    Engrams of such filters are additive: the engram of a set is the sum of its members' engrams.
    """

    @property
    def damping(self) -> float:
        """In units of Σ, a sum over rows."""


@dataclass(frozen=True)
class Soft:
    """``μ``: the paper's estimator, ``D = Σ_total†`` (Eq. 4)."""

    def response(self, mu: Tensor, share: float) -> Tensor:
        return mu

    @property
    def damping(self) -> float:
        return 0.0


@dataclass(frozen=True)
class Ridge:
    """``D = (Σ_total + λ I)⁻¹``: Unified Concept Editing (Gandikota et al. 2024; Eq. 31).

    λ is in units of Σ, a sum over rows. Directions below the cut stay cut; with ``RelativeCut(0)`` this is exactly UCE.
    """

    strength: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.strength < math.inf:
            raise DataError(f"a ridge is at least 0 and finite, not {self.strength}")

    def response(self, mu: Tensor, share: float) -> Tensor:
        raise DataError("Ridge is not a function of μ; it damps the inverse of Σ_total instead")

    @property
    def damping(self) -> float:
        return self.strength


@dataclass(frozen=True)
class Power:
    """``μ^exponent``: above 1, shared directions are spared."""

    exponent: float = 2.0

    def __post_init__(self) -> None:
        if not self.exponent > 0.0:
            raise DataError(f"an exponent of μ is above 0, not {self.exponent}")

    def response(self, mu: Tensor, share: float) -> Tensor:
        return mu**self.exponent


@dataclass(frozen=True)
class Hard:
    """1 where ``μ > threshold``, else 0: the projector on directions that belong to the concept."""

    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold < 1.0:
            raise DataError(f"a threshold on μ lies in [0, 1), not {self.threshold}")

    def response(self, mu: Tensor, share: float) -> Tensor:
        return (mu > self.threshold).to(mu.dtype)


@dataclass(frozen=True)
class Excess:
    """``(μ − n⁺/N) / (1 − n⁺/N)``, at least 0: what exceeds the concept's share of the rows."""

    def response(self, mu: Tensor, share: float) -> Tensor:
        return ((mu - share) / max(1.0 - share, torch.finfo(mu.dtype).eps)).clamp_min(0)


@dataclass(frozen=True)
class Balanced:
    """``C⁺ (C⁺ + C⁻)†`` of the *mean* covariances: μ as if concept and reference had equally many rows."""

    def response(self, mu: Tensor, share: float) -> Tensor:
        if share <= 0.0 or share >= 1.0:  # all μ are 0, or all 1
            return mu
        odds = (1.0 - share) / share
        return mu * odds / (1.0 - mu + mu * odds)


@dataclass(frozen=True)
class Steep:
    """``μᵖ / (μᵖ + τᵖ)`` with ``τ = times · n⁺/N``: a projector with a soft edge.

    Attributes:
        times: τ in units of the μ of a direction that both sets share.
        exponent: p; the larger, the closer to the projector on ``μ > τ``.

    Raises:
        ConfigurationError: a value is not above 0.
    """

    times: float = 2.0
    exponent: float = 4.0

    def __post_init__(self) -> None:
        if not (self.times > 0.0 and self.exponent > 0.0):
            raise ConfigurationError(f"times and exponent are above 0, not {self.times} and {self.exponent}")

    def response(self, mu: Tensor, share: float) -> Tensor:
        """The factor of each direction, given n⁺/N."""
        power = (mu / (self.times * share)) ** self.exponent
        return 1.0 - 1.0 / (1.0 + power)  # also where the power overflows


FILTERS = {
    "soft": Soft,
    "ridge": Ridge,
    "power": Power,
    "hard": Hard,
    "excess": Excess,
    "balanced": Balanced,
    "steep": Steep,
}

FILTER = Choice("filter", FILTERS)
"""The filters, as recipes, artifacts and options write them."""
