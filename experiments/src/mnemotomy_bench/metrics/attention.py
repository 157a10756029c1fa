"""Where attention goes at the prediction step: how spread out it is, and how much of it is on the evidence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.core.errors import DataError


def attention_entropy(weights: Float[Tensor, "heads length"]) -> Float[Tensor, " heads"]:
    """``H = −Σ w log w`` of each head, in nats (Fig. 3): 0 on one token, log(length) on all alike."""
    return torch.special.entr(weights).sum(dim=-1)


def evidence_weight(weights: Float[Tensor, "heads length"], positions: Sequence[int]) -> Float[Tensor, " heads"]:
    """The share of each head's attention that is on the tokens of the evidence (Fig. 4).

    Raises:
        DataError: there is no position, one is named twice, or one lies outside the text.
    """
    length = weights.shape[-1]
    if not positions or len(set(positions)) < len(positions):
        raise DataError(f"name each token of the evidence once, not {list(positions)}")
    outside = [position for position in positions if not 0 <= position < length]
    if outside:
        raise DataError(f"the text has {length} tokens, so none at position {outside[0]}")
    return weights[:, list(positions)].sum(dim=-1)
