"""μ as if the concept were rarer than among the collected rows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mnemotomy.core.errors import DataError


@dataclass(frozen=True)
class Rare:
    """The paper's μ (Eq. 4) with Σ⁺ and Σ⁻ weighted so that the concept has ``share`` of the rows.

    A direction that the concept shares with everything has μ = n⁺/N: an engram of half the faces contains half of
    every face. An engram of 6 % of them (CelebA's share with glasses) contains 6 %. Reweighting is a function of μ:
    ``r μ / (1 − μ + r μ)`` with r the ratio of the odds, so one collection serves every share.

    Raises:
        DataError: the share is not between 0 and 1.
    """

    share: float

    def __post_init__(self) -> None:
        if not 0.0 < self.share < 1.0:
            raise DataError(f"the share of a concept is between 0 and 1, not {self.share}")

    def response(self, mu: Tensor, share: float) -> Tensor:
        if share <= 0.0 or share >= 1.0:  # all μ are 0, or all 1
            return mu
        ratio = self.share / (1.0 - self.share) * (1.0 - share) / share
        return ratio * mu / (1.0 - mu + ratio * mu)
