"""Linear layers, and embeddings, whose rows are one-hot."""

from __future__ import annotations

from torch import Tensor, nn

from mnemotomy.engram.sites.base import WeightAndBias
from mnemotomy.engram.sites.layout import LastDimension, Layout, OneHot


class LinearSite(WeightAndBias):
    """``nn.Linear``: rows are the vectors along the last dimension."""

    def layout(self) -> Layout:
        return LastDimension()


class PackedLinearSite(LinearSite):
    """A linear map without a weight of its own to write to, as quantised layers are: found, and refused."""

    parameters = ()


class TransposedLinearSite(WeightAndBias):
    """transformers' ``Conv1D``: GPT-2's linear layer, with the weight stored transposed."""

    def layout(self) -> Layout:
        return LastDimension()

    def to_canonical(self, weight: Tensor) -> Tensor:
        return weight.T

    def from_canonical(self, delta: Tensor) -> Tensor:
        return delta.T


class EmbeddingSite(WeightAndBias):
    """``nn.Embedding``: the canonical weight ``[dim, vocabulary]`` is the table transposed."""

    module: nn.Embedding

    def layout(self) -> Layout:
        return OneHot(self.module.num_embeddings)

    def to_canonical(self, weight: Tensor) -> Tensor:
        return weight.T

    def from_canonical(self, delta: Tensor) -> Tensor:
        return delta.T
