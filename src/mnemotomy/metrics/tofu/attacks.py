"""Membership inference on answers: four numbers, each the higher the less an answer looks trained on."""

from __future__ import annotations

import zlib

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.metrics.tofu.probability import average_loss
from mnemotomy.observe.answers import AnswerObservations

SHARE = 0.4
"""OpenUnlearning's k on TOFU: the share of an answer's tokens, the worst, that Min-K and Min-K++ look at."""

_SMALLEST_DEVIATION = 1e-3


def loss_attack(observations: AnswerObservations) -> Float[Tensor, " n"]:
    """The average loss, the end token included (Yeom et al. 2018)."""
    return average_loss(observations)


def zlib_attack(observations: AnswerObservations) -> Float[Tensor, " n"]:
    """The average loss over the bytes of the compressed answer (Carlini et al. 2021)."""
    sizes = [len(zlib.compress(text.encode())) for text in observations.texts]
    return average_loss(observations) / torch.tensor(sizes, dtype=torch.float64)


def min_k_attack(observations: AnswerObservations, share: float = SHARE) -> Float[Tensor, " n"]:
    """Minus the mean of the lowest log-probabilities, the end token left out (Shi et al. 2024)."""
    rows = observations.rows(observations.log_probability.double(), end=False)
    return torch.stack([_lowest(row, share) for row in rows])


def min_k_plus_plus_attack(observations: AnswerObservations, share: float = SHARE) -> Float[Tensor, " n"]:
    """The same of ``(log p − μ)/σ``, mean and deviation over the vocabulary, σ at least 1e-3 (Zhang et al. 2025)."""
    deviation = observations.deviation.double().clamp(min=_SMALLEST_DEVIATION)
    scores = (observations.log_probability.double() - observations.mean.double()) / deviation
    return torch.stack([_lowest(row, share) for row in observations.rows(scores, end=False)])


ATTACKS = {
    "mia_loss": loss_attack,
    "mia_zlib": zlib_attack,
    "mia_min_k": min_k_attack,
    "mia_min_k_plus_plus": min_k_plus_plus_attack,
}
"""By OpenUnlearning's names. ``mnemotomy.metrics.membership.loss_auc(forget, unseen)`` turns two sets of any of these
numbers into an AUC: 1 where the forget set looks trained on, 0.5 where it cannot be told."""


def _lowest(values: Float[Tensor, " tokens"], share: float) -> Float[Tensor, ""]:
    return -values.sort().values[: max(1, int(len(values) * share))].mean()
