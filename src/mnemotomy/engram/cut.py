"""Which eigendirections of Σ_total are inverted. The cut is part of the method, so it is always explicit.

Input covariances of language models reach condition numbers of 1e13: directions below the cut are noise, and inverting
them destroys the edit. No cut here depends on the precision of the arithmetic.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mnemotomy.core.errors import DataError
from mnemotomy.core.settings import Choice


class Cut(Protocol):
    """Chooses eigenvalues to keep."""

    def keep(self, eigenvalues: Float[Tensor, "*groups d"]) -> Bool[Tensor, "*groups d"]:
        """True where a direction is kept; ``eigenvalues`` ascend and may be slightly negative from rounding."""

    def ratio_at(self, width: int) -> float | None:
        """The smallest ``λ / λ_max`` kept, for cuts of that form: a full-rank Σ then needs no ``eigh``."""


class _Above(ABC):
    """Keeps ``λ > ratio · λ_max``."""

    def keep(self, eigenvalues: Tensor) -> Tensor:
        ratio = self.ratio_at(eigenvalues.shape[-1])
        return (eigenvalues > ratio * eigenvalues.amax(-1, keepdim=True).clamp_min(0)) & (eigenvalues > 0)

    @abstractmethod
    def ratio_at(self, width: int) -> float:
        """As ``Cut.ratio_at``."""


@dataclass(frozen=True)
class RelativeCut(_Above):
    """Keep ``λ > ratio · λ_max``; 1e-6 is the paper's (Appendix B.3) and the default."""

    ratio: float = 1e-6

    def __post_init__(self) -> None:
        if not 0.0 <= self.ratio < 1.0:
            raise DataError(f"a relative cut is a ratio λ/λ_max in [0, 1), not {self.ratio}")

    def ratio_at(self, width: int) -> float:
        return self.ratio


@dataclass(frozen=True)
class FloatEpsCut(_Above):
    """Keep ``λ > d · 2⁻²³ · λ_max``, the reference implementation's (ai-engram) cut: coarser for wider inputs."""

    def ratio_at(self, width: int) -> float:
        return width * 2.0**-23


@dataclass(frozen=True)
class ConditionCut(_Above):
    """Keep directions within a factor ``condition`` of the largest eigenvalue."""

    condition: float

    def __post_init__(self) -> None:
        if not self.condition > 1.0:
            raise DataError(f"a condition cut needs a condition number above 1, not {self.condition}")

    def ratio_at(self, width: int) -> float:
        return 1.0 / self.condition


@dataclass(frozen=True)
class RankCut:
    """Keep the ``rank`` largest eigenvalues, or that fraction of them when ``rank`` is below 1."""

    rank: float

    def __post_init__(self) -> None:
        if not self.rank > 0:
            raise DataError(f"a rank cut keeps a rank above 0, not {self.rank}")

    def ratio_at(self, width: int) -> None:
        return None

    def keep(self, eigenvalues: Tensor) -> Tensor:
        d = eigenvalues.shape[-1]
        kept = max(1, round(self.rank * d)) if self.rank < 1 else min(d, int(self.rank))
        mask = torch.zeros_like(eigenvalues, dtype=torch.bool)
        mask[..., d - kept :] = True
        return mask & (eigenvalues > 0)


@dataclass(frozen=True)
class EnergyCut:
    """Keep the fewest eigenvalues whose sum reaches ``fraction`` of the trace."""

    fraction: float

    def __post_init__(self) -> None:
        if not 0.0 < self.fraction <= 1.0:
            raise DataError(f"an energy cut keeps a fraction in (0, 1], not {self.fraction}")

    def ratio_at(self, width: int) -> None:
        return None

    def keep(self, eigenvalues: Tensor) -> Tensor:
        positive = eigenvalues.clamp_min(0).double().flip(-1)
        before = positive.cumsum(-1) - positive
        return ((before < self.fraction * positive.sum(-1, keepdim=True)) & (positive > 0)).flip(-1)


CUTS: dict[str, type[Any]] = {
    "relative": RelativeCut,
    "float-eps": FloatEpsCut,
    "condition": ConditionCut,
    "rank": RankCut,
    "energy": EnergyCut,
}

CUT = Choice("cut", CUTS)
"""The cuts, as recipes, artifacts and options write them."""
