"""The forget gradient: of the log-odds or the loss of the examples below the level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.progress import progress_bar
from mnemotomy.curvature.weight_gradients import Matrices, taken
from mnemotomy.engram.sites.base import WeightAndBias
from mnemotomy.methods.language.predictions import ROWS_AT_ONCE, Predictions, predict
from mnemotomy.text.encoding import Encoded

FLOOR = 0.05
"""Added to ``1 − p``, so that tokens the model is sure of weigh at most 20 times as much as those it has lost."""


class Forgetting(NamedTuple):
    """The result of one pass over the forget set.

    Attributes:
        gradients: by site, of ``Σ w · (−log p)``.
        gap: how far the examples' mean losses lie below the level, in nats, 0 for those above; the mean over all.
        tokens: number of tokens in the gradient, each counted by its example's weight.
    """

    gradients: Matrices
    gap: float
    tokens: float


@dataclass(frozen=True)
class WeightedForgetLoss:
    """``Σ w · (−log p)`` over the tokens of a set, with weights that are constants for the gradient.

    A weight is how far the example's mean loss lies below the level, as a share of it: an example that has reached the
    level is left alone. For the log-odds it is divided by ``1 − p + 0.05``, because the gradient of the loss all but
    vanishes on what is best memorised, and is largest on what the model never learned.

    Attributes:
        level: the mean loss per token to reach, in nats, of each example.
        log_odds: whether to divide.
    """

    level: Float[Tensor, " n"]
    log_odds: bool

    def gradient(
        self, model: nn.Module, sites: Mapping[str, WeightAndBias], rows: Sequence[Encoded], tokenizer: Any
    ) -> Forgetting:
        """Run one forward and backward pass of ``rows``; the weights of the sites must require gradients."""
        gap, tokens, done = 0.0, 0.0, 0
        levels = self.level[sorted(range(len(rows)), key=lambda index: len(rows[index].input_ids))]
        for found in _forwards(model, rows, tokenizer, "forgetting"):
            logs = found.log_probabilities()
            level = levels[done : done + found.examples].to(logs)
            done += found.examples
            gaps = (level + found.summed(logs.detach()) / found.lengths()).clamp_min(0.0)
            effect = (gaps / level)[found.rows]
            weights = effect / (1.0 - logs.detach().exp() + FLOOR) if self.log_odds else effect
            gap, tokens = gap + float(gaps.sum()) / len(rows), tokens + float(effect.sum())
            if bool((weights > 0).any()):
                (-(weights * logs).sum()).backward()
        return Forgetting(taken(model, sites), gap, tokens)


def loss_gradient(
    model: nn.Module, sites: Mapping[str, WeightAndBias], rows: Sequence[Encoded], tokenizer: Any
) -> Matrices:
    """By site, the gradient of the summed loss on ``rows``."""
    for found in _forwards(model, rows, tokenizer, "retaining"):
        (-found.log_probabilities().sum()).backward()
    return taken(model, sites)


def _forwards(model: nn.Module, rows: Sequence[Encoded], tokenizer: Any, what: str) -> Iterator[Predictions]:
    """Clear the gradients and forward the rows, a few of similar length at a time."""
    model.zero_grad(set_to_none=True)
    order = sorted(rows, key=lambda row: len(row.input_ids))
    with progress_bar(what, len(order)) as advance:
        for start in range(0, len(order), ROWS_AT_ONCE):
            yield predict(model, order[start : start + ROWS_AT_ONCE], tokenizer)
            advance(min(ROWS_AT_ONCE, len(order) - start))
