"""The survival stream: answering from context (Algorithm 1, step 5)."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from mnemotomy.metabolism.suppression import answer_cross_entropy


def survival_loss(logits: Float[Tensor, "n length vocabulary"], labels: Int[Tensor, "n length"]) -> Tensor:
    """``L_RAG = CE(logits_rag, y_lm)`` over the answers' tokens, the context before them in the input."""
    return answer_cross_entropy(logits, labels)
