"""Engram: the paper's own estimator, erased at one strength for all layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.strength import erase
from mnemotomy.methods.base import ENGRAM, SearchSpace
from mnemotomy.methods.classifiers.engram_base import FORGET, EngramMethod
from mnemotomy.methods.classifiers.problem import Problem
from mnemotomy.methods.registry import register

STRENGTHS = tuple(tenths / 10 for tenths in range(5, 21))
"""Table 5 of arXiv 2606.14997: 0.5, 0.6, …, 2.0."""


@register
@dataclass(frozen=True)
class EngramPaper(EngramMethod):
    """``W − α W Σ⁺ (Σ⁺ + Σ⁻)†`` at every layer (Eq. 4, Appendix B.4.1), at α = 1; in one round, as the paper has it.

    Raises:
        ConfigurationError: as ``EngramMethod``.
    """

    strength: float = 1.0

    name: ClassVar = "engram"
    title: ClassVar = "Engram (α = 1)"
    paper: ClassVar = ENGRAM

    def __call__(self, problem: Problem) -> nn.Module:
        return self.erased_in_rounds(problem, self._edit)

    def _edit(self, model: nn.Module, atlas: Atlas) -> Edit:
        return erase(atlas, FORGET, self.strength)


@register
@dataclass(frozen=True)
class EngramGrid(EngramPaper):
    """The same at the α that a grid search finds: 0.6 for CIFAR-10 and 1.6 for CIFAR-100 in the paper.

    Raises:
        ConfigurationError: as ``EngramPaper``.
    """

    name: ClassVar = "engram-grid"
    title: ClassVar = "Engram (best α)"
    search_space: ClassVar = SearchSpace({"strength": STRENGTHS})
