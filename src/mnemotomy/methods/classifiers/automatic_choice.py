"""What one filter with its strengths leaves on training examples, read from what the head reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from mnemotomy.engram.filters import Filter
from mnemotomy.metrics.clustering import separability
from mnemotomy.metrics.dimensional_alignment import dimensional_alignment

CLUSTERED = 500
"""Examples to forget whose features are clustered, with as many others: k-means takes longer than all else."""


@dataclass(frozen=True)
class Reading:
    """What the head reads of both sets, and their classes."""

    forget: Float[Tensor, "n d"]
    retain: Float[Tensor, "m d"]
    forget_labels: Tensor
    retain_labels: Tensor

    def forgotten(self, weight: Float[Tensor, "out d_plus_1"]) -> float:
        """The accuracy on what is to be forgotten with this canonical weight of the head."""
        return _accuracy(self.forget, self.forget_labels, weight)

    def retained(self, weight: Float[Tensor, "out d_plus_1"]) -> float:
        """The accuracy on what is to be kept."""
        return _accuracy(self.retain, self.retain_labels, weight)


@dataclass(frozen=True)
class Choice:
    """A filter with the strengths chosen for it, and what they leave on the training examples read.

    Attributes:
        filter: of μ: a threshold or a power.
        strength: α of the layers before the head.
        head_strength: α of the head.
        forget: accuracy on examples to forget, in [0, 1].
        retain: accuracy on examples to keep, in [0, 1].
        reading: what the head reads with the layers before it edited.
    """

    filter: Filter
    strength: float
    head_strength: float
    forget: float
    retain: float
    reading: Reading = field(repr=False)

    @property
    def accuracy(self) -> float:
        """1 where nothing of the one set is recognised and everything of the other."""
        return (1.0 - self.forget) * self.retain

    @property
    def mixing(self) -> float:
        """1 where what the head reads of the one set lies among what it reads of the other."""
        return self.alignment * (1.0 - self.separability)

    @cached_property
    def alignment(self) -> float:
        """Dimensional Alignment of what the head reads, in [0, 1]."""
        return dimensional_alignment(self.reading.forget, self.reading.retain)

    @cached_property
    def separability(self) -> float:
        """NMI of two clusters of what the head reads with the two sets, in [0, 1]."""
        return separability(self.reading.forget[:CLUSTERED], self.reading.retain, draws=3)


def _accuracy(inputs: Float[Tensor, "n d"], labels: Tensor, weight: Float[Tensor, "out d_plus_1"]) -> float:
    predicted = (inputs @ weight[:, :-1].T + weight[:, -1]).argmax(-1)
    return float((predicted == labels).double().mean())
