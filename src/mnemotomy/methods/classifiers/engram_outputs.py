"""Engram of inputs and outputs: only what reads the class and writes it is erased."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mnemotomy.methods.base import OURS, SearchSpace
from mnemotomy.methods.classifiers.engram_recalibrated import EngramRecalibrated
from mnemotomy.methods.registry import register


@register
@dataclass(frozen=True)
class EngramOutputs(EngramRecalibrated):
    """``W − α P_out W P`` at every layer (``Atlas.output_operator``), recalibrated, with an α of the head's own.

    The paper's ``W P`` takes from a layer all that it makes of the class's inputs, and from others what they share with
    them. ``P_out`` leaves what they share where the output is not the class's: at the head above all, where outputs are
    classes, so that a larger α costs the others little.

    Raises:
        DataError: the exponent is not above 0.
        ConfigurationError: as ``EngramMethod``.
    """

    name: ClassVar = "engram-outputs"
    title: ClassVar = "Engram (with outputs)"
    paper: ClassVar = OURS
    outputs: ClassVar = True
    search_space: ClassVar = SearchSpace({"strength": (0.2, 0.5, 0.8, 1.2), "head_strength": (1.4, 2.0, 3.0, 4.0)})
