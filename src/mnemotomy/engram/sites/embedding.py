"""Embeddings: an affine map on one-hot rows, whose Σ is the diagonal of token counts."""

from __future__ import annotations

from torch import Tensor, nn

from mnemotomy.engram.sites.base import WeightAndBias
from mnemotomy.engram.sites.layout import Layout, OneHot


class EmbeddingSite(WeightAndBias):
    """``nn.Embedding``: the canonical weight ``[dim, vocabulary]`` is the table transposed."""

    module: nn.Embedding

    def layout(self) -> Layout:
        return OneHot(self.module.num_embeddings)

    def to_canonical(self, weight: Tensor) -> Tensor:
        return weight.T

    def from_canonical(self, delta: Tensor) -> Tensor:
        return delta.T
