"""Engram: the paper's estimator on language models, at one strength for all layers or by the norm of their engrams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.strength import erase
from mnemotomy.methods.base import ENGRAM, SearchSpace
from mnemotomy.methods.language.closed_form import MomentsEdit
from mnemotomy.methods.language.collecting import FORGET
from mnemotomy.methods.registry import register

PAPER_STRENGTHS = tuple(step / 20 for step in range(1, 21))
"""Appendix E.3 of arXiv 2606.14997: 0.05, 0.10, …, 1.0."""


@register
@dataclass(frozen=True)
class EngramUniform(MomentsEdit):
    """``W − α W Σ⁺ (Σ⁺ + Σ⁻)†`` at every projection (Eq. 4, 7), α the same for all (Appendix E.3).

    Raises:
        ConfigurationError, DataError: as ``MomentsEdit``.
    """

    strength: float = 0.6

    name: ClassVar = "engram-uniform"
    title: ClassVar = "Engram (ᾱ, uniform)"
    paper: ClassVar = ENGRAM
    search_space: ClassVar = SearchSpace({"strength": (0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 4.0)})

    def edit(self, atlas: Atlas) -> Edit:
        return erase(atlas, FORGET, self.strength)


@register
@dataclass(frozen=True)
class EngramWeightNorm(MomentsEdit):
    """The same with ``α = ‖W⁺‖/‖W‖`` of each projection, rescaled to a maximum of 1 (Section 7, Appendix E.3).

    The paper's α̃ has no hyperparameter: ``strength`` 1. Other values multiply it.

    Raises:
        ConfigurationError, DataError: as ``MomentsEdit``.
    """

    strength: float = 1.0

    name: ClassVar = "engram-weight-norm"
    title: ClassVar = "Engram (α̃, weight norm)"
    paper: ClassVar = ENGRAM
    search_space: ClassVar = SearchSpace({"strength": (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)})

    def edit(self, atlas: Atlas) -> Edit:
        return self.strength * erase(atlas, FORGET, "weight-norm")
