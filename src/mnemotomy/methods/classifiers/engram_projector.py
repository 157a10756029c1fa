"""Engram projector: directions of the input that belong to the forget set are erased whole, all others spared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.filters import Hard
from mnemotomy.engram.strength import erase
from mnemotomy.methods.base import OURS, SearchSpace
from mnemotomy.methods.classifiers.engram_base import FORGET, EngramMethod
from mnemotomy.methods.classifiers.problem import Problem
from mnemotomy.methods.registry import register


@register
@dataclass(frozen=True)
class ClassifierEngramProjector(EngramMethod):
    """``W − α W P`` with ``P`` the projector on the directions with ``μ > threshold`` (``filters.Hard``).

    Raises:
        DataError: the threshold is not in [0, 1).
        ConfigurationError: as ``EngramMethod``.
    """

    threshold: float = 0.5
    strength: float = 1.0

    name: ClassVar = "engram-projector"
    title: ClassVar = "Engram (projector)"
    paper: ClassVar = OURS
    search_space: ClassVar = SearchSpace(
        {
            "threshold": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
            "strength": (0.6, 0.8, 1.0, 1.2, 1.4),
        }
    )

    def __post_init__(self) -> None:
        Hard(self.threshold)  # its own check, before any work is done
        super().__post_init__()

    def __call__(self, problem: Problem) -> nn.Module:
        return self.erased_in_rounds(problem, self._edit)

    def _edit(self, model: nn.Module, atlas: Atlas) -> Edit:
        return erase(atlas, FORGET, self.strength, Hard(self.threshold))
