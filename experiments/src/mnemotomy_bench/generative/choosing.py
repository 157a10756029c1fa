"""Candidates compared on training images only: do they erase the digit, and how well do they keep the others?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mnemotomy_bench.vision.networks.conv_autoencoder import ConvAutoencoder


@dataclass(frozen=True)
class Trial:
    """A configuration, and its errors on the training images that settings are chosen on.

    Attributes:
        own: mean squared error on the digit.
        others: the same on the other digits.
        erased: whether ``own`` is at least that of the other digits' mean image.
        config: what was tried.
    """

    own: float
    others: float
    erased: bool
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def rank(self) -> tuple[bool, float]:
        """Larger is better: erased first, then a low error on the others; if not erased, the digit's error."""
        return self.erased, -self.others if self.erased else self.own


@dataclass(frozen=True)
class Outcome:
    """A network without the digit.

    Attributes:
        model: a copy of the original, changed.
        config: what was chosen.
        seconds: of wall time for this digit, including choosing but not what serves all digits.
    """

    model: ConvAutoencoder
    config: dict[str, Any]
    seconds: float
