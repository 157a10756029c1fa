"""Engram recalibrated: a power of μ erased, then batch normalisation's statistics read again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.filters import Power
from mnemotomy.engram.strength import Strength, erase
from mnemotomy.methods.base import OURS, SearchSpace
from mnemotomy.methods.classifiers.classifier import head_of
from mnemotomy.methods.classifiers.engram import STRENGTHS, EngramPaper
from mnemotomy.methods.classifiers.engram_base import FORGET, head_site
from mnemotomy.methods.classifiers.problem import Problem
from mnemotomy.methods.registry import register


@register
@dataclass(frozen=True)
class EngramRecalibrated(EngramPaper):
    """``EngramPaper`` with an α of the head's own, after which ``recalibrate_`` reads the examples to retain once more.

    Where classes share a direction its μ is ``n⁺/N``, so that every layer's input is scaled down by about that much. A
    network with batch normalisation does not mind the scale, once its statistics are those of the edited layers. Less
    is then lost before the head, which has to be edited more.

    Attributes:
        strength: α of the layers before the head.
        head_strength: α of the head; None for the same.
        exponent: of μ (``filters.Power``); 1 is the paper's estimator.

    Raises:
        DataError: the exponent is not above 0.
        ConfigurationError: as ``EngramMethod``.
    """

    head_strength: float | None = None
    exponent: float = 1.0

    name: ClassVar = "engram-recalibrated"
    title: ClassVar = "Engram (recalibrated)"
    paper: ClassVar = OURS
    outputs: ClassVar = False
    search_space: ClassVar = SearchSpace(
        {"strength": STRENGTHS, "head_strength": (None, 1.2, 1.6, 2.0), "exponent": (1.0, 2.0)}
    )

    def __post_init__(self) -> None:
        Power(self.exponent)  # its own check, before any work is done
        super().__post_init__()

    def __call__(self, problem: Problem) -> nn.Module:
        filter = None if self.exponent == 1.0 else Power(self.exponent)

        def edit(model: nn.Module, atlas: Atlas) -> Edit:
            strength: Strength = self.strength
            if self.head_strength is not None:
                head = head_site(head_of(model, problem.forget), atlas)
                strength = dict.fromkeys(atlas.sites, self.strength) | {head: self.head_strength}
            return erase(atlas, FORGET, strength, filter, outputs=self.outputs)

        return self.erased_in_rounds(problem, edit, recalibrate=True)
