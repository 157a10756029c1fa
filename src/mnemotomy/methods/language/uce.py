"""Unified Concept Editing in the variant that arXiv 2606.14997 compares with: a ridge for the pseudoinverse."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.filters import Ridge
from mnemotomy.engram.strength import erase
from mnemotomy.methods.language.closed_form import MomentsEdit
from mnemotomy.methods.language.collecting import FORGET
from mnemotomy.methods.registry import register

PAPER_DAMPINGS = (0.0, 0.01, 0.05, 0.1, 0.3, 0.5, 1.0)
"""Appendix E.5 of arXiv 2606.14997."""


@register(
    "uce", "UCE", "Gandikota et al. 2024, Unified Concept Editing in Diffusion Models", grid={"damping": PAPER_DAMPINGS}
)
class UCE(MomentsEdit):
    """``W − α W Σ⁺ (Σ⁺ + Σ⁻ + λI)⁻¹`` (Eq. 31): no direction is cut, all are damped.

    Attributes:
        damping: λ.
        unit: of λ. ``sum``: as in Eq. 31, where Σ⁺ and Σ⁻ are sums over tokens, so λ weighs less the more tokens are
            read. ``mean``: λ belongs to the mean over all tokens, ``(Σ⁺ + Σ⁻)/N``, so ``λN`` is added.
        strength: α; 1 in the paper.
        cut: 0, so only eigenvalues that rounding has left at 0 or below are cut.
    """

    damping: float = 0.1
    unit: Literal["sum", "mean"] = "sum"
    strength: float = 1.0
    cut: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        Ridge(self.damping)  # checks itself
        if self.unit not in ("sum", "mean"):
            raise ConfigurationError(f"unit is 'sum' or 'mean', not {self.unit!r}")

    def edit(self, atlas: Atlas) -> Edit:
        site = next(iter(atlas.sites))
        tokens = sum(atlas.moments.count(site, concept) for concept in atlas.concepts)
        return erase(atlas, FORGET, self.strength, Ridge(self.damping * (tokens if self.unit == "mean" else 1)))
