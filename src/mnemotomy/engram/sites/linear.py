"""Linear layers: ``nn.Linear`` (weight ``[out, in]``) and transformers' ``Conv1D`` (weight ``[in, out]``)."""

from __future__ import annotations

from torch import Tensor

from mnemotomy.engram.sites.base import WeightAndBias
from mnemotomy.engram.sites.layout import LastDimension, Layout


class LinearSite(WeightAndBias):
    """``nn.Linear``: rows are the vectors along the last dimension."""

    def layout(self) -> Layout:
        return LastDimension()


class TransposedLinearSite(WeightAndBias):
    """transformers' ``Conv1D``, the linear layer of GPT-2, which stores its weight transposed."""

    def layout(self) -> Layout:
        return LastDimension()

    def to_canonical(self, weight: Tensor) -> Tensor:
        return weight.T

    def from_canonical(self, delta: Tensor) -> Tensor:
        return delta.T
