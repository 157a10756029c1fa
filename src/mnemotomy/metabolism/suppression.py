"""Terms that make the answer improbable without context (Algorithm 1, step 3, and its bounded form)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

IGNORED = -100
_HALF = -0.7  # log of a probability on either side of which one of two formulas is exact


class Suppression(ABC):
    """A loss on the logits of ``x_no`` that falls as the answer becomes less probable."""

    @abstractmethod
    def __call__(self, logits: Float[Tensor, "n length vocabulary"], labels: Int[Tensor, "n length"]) -> Tensor:
        """``labels[:, t]`` is the token that position ``t`` should predict, −100 where none counts."""


@dataclass(frozen=True)
class NegativeCrossEntropy(Suppression):
    """``L_L = −weight · CE(logits, y_lm)``, the paper's with 0.5. It has no lower bound."""

    weight: float = 0.5

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return -self.weight * answer_cross_entropy(logits, labels)


@dataclass(frozen=True)
class Unlikelihood(Suppression):
    """``−weight · log(1 − p(answer))`` (Welleck et al. 2020): zero, and without gradient, once the answer is gone."""

    weight: float = 1.0

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        counted = labels != IGNORED
        said, answers = logits[counted].float(), labels[counted][:, None]
        log_p = said.log_softmax(-1).gather(-1, answers)[:, 0]
        gone = -torch.log1p(-log_p.clamp(max=_HALF).exp())
        # from the other tokens' logits, as 1 − p is 0 in float32 where a model is sure, and would have no gradient
        known = said.logsumexp(-1) - said.scatter(-1, answers, -torch.inf).logsumexp(-1)
        return self.weight * torch.where(log_p < _HALF, gone, known).mean()


def answer_cross_entropy(logits: Float[Tensor, "n length vocabulary"], labels: Int[Tensor, "n length"]) -> Tensor:
    """Mean cross-entropy over the answers' tokens."""
    return nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)
