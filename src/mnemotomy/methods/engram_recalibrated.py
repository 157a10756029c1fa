"""Engram recalibrated: the paper's estimator, then batch normalisation's statistics read again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mnemotomy.methods.engram import EngramGrid
from mnemotomy.methods.erasure import PAPER, erase_in_rounds
from mnemotomy.methods.problem import Problem


@dataclass(frozen=True)
class EngramRecalibrated(EngramGrid):
    """``EngramGrid``, after which ``recalibrate_`` reads the examples to retain once more.

    Where classes share a direction its μ is ``n⁺/N``, so that every layer's input is scaled down by about that much. A
    network with batch normalisation does not mind the scale, once its statistics are those of the edited layers. One
    without it comes out as from ``EngramGrid``.

    Raises:
        ConfigurationError: rounds or batch size are below 1.
    """

    name: ClassVar = "engram-recalibrated"
    title: ClassVar = "Engram (best α), recalibrated"
    paper: ClassVar = f"{PAPER}; the recalibration is ours"

    def __call__(self, problem: Problem) -> nn.Module:
        return erase_in_rounds(problem, self._edit, self.rounds, self.batch_size, recalibrate=True)
