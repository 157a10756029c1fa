"""The metrics of single answers: memorization, probability, truth ratio, and membership attacks."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mnemotomy.core.errors import DataError
from mnemotomy.observe.answers import AnswerObservations


def exact_memorization(observations: AnswerObservations) -> Float[Tensor, " n"]:
    """The share of each answer's tokens that are the likeliest (Tirumala et al. 2022); the end token does not count."""
    return torch.stack([row.double().mean() for row in observations.rows(observations.hit, end=False)])


def extraction_strength(observations: AnswerObservations) -> Float[Tensor, " n"]:
    """``1 − k/T``, with k of T tokens in the shortest prefix after which all are predicted (Carlini et al. 2021).

    The end token does not count. At least ``1/T``, as in OpenUnlearning: a wrong last token scores like a right one.
    """
    return torch.tensor([_strength(row) for row in observations.rows(observations.hit, end=False)], dtype=torch.float64)


def _strength(hits: Bool[Tensor, " tokens"]) -> float:
    misses = (~hits).nonzero()
    prefix = int(misses[-1]) + 1 if len(misses) else 0
    return 1.0 - min(prefix, len(hits) - 1) / len(hits)


GUARD = 1e-10
"""OpenUnlearning's addition to a divisor."""


def average_loss(observations: AnswerObservations, *, end: bool = True) -> Float[Tensor, " n"]:
    """Minus the mean log-probability of each answer's tokens, by default the end token included, in nats."""
    rows = observations.rows(observations.log_probability.double(), end=end)
    return -torch.stack([row.mean() for row in rows])


def probability(observations: AnswerObservations) -> Float[Tensor, " n"]:
    """``P(a|q)^(1/|a|)``: the geometric mean of the tokens' probabilities (Maini et al. 2024, Section 2.2.2)."""
    return (-average_loss(observations)).exp()


def normalised_probability(true: AnswerObservations, perturbed: AnswerObservations) -> Float[Tensor, " n"]:
    """``p / (p + Σ p' + 1e-10)`` over the false answers p', for questions with options, such as real authors.

    Raises:
        DataError: the false answers do not belong to the true ones.
    """
    right = probability(true)
    return right / (right + grouped(probability(perturbed), len(true)).sum(dim=1) + GUARD)


def grouped(values: Float[Tensor, " rows"], questions: int) -> Float[Tensor, "n k"]:
    """One number per false answer, as one row per question.

    Raises:
        DataError: the questions do not all have the same number.
    """
    if not questions or not len(values) or len(values) % questions:
        raise DataError(f"{len(values)} false answers do not divide among {questions} questions; observe them again")
    return values.reshape(questions, -1)


def truth_ratio(true: AnswerObservations, perturbed: AnswerObservations) -> Float[Tensor, " n"]:
    """``r = p(false) / (p(true) + 1e-10)``, p(false) the geometric mean over the false answers (Maini et al., Eq. 1).

    Args:
        true: of the paraphrased answers, or of the answers if a split has no paraphrases.
        perturbed: of the false answers.

    Raises:
        DataError: the false answers do not belong to the true ones.
    """
    false = (-grouped(average_loss(perturbed), len(true)).mean(dim=1)).exp()
    return false / (probability(true) + GUARD)


def forget_truth_ratio(ratios: Float[Tensor, " n"]) -> float:
    """The mean of ``min(r, 1/(r + 1e-10))``, in [0, 1]; 1 if true and false are equally likely, as if never seen."""
    return float(ratios.minimum(1.0 / (ratios + GUARD)).mean())


def retain_truth_ratio(ratios: Float[Tensor, " n"]) -> float:
    """The mean of ``max(0, 1 − r)``, in [0, 1]; 1 if false answers have no probability."""
    return float((1.0 - ratios).clamp(min=0.0).mean())


SHARE = 0.4
"""OpenUnlearning's k on TOFU: the share of an answer's tokens, the least likely, in Min-K and Min-K++."""

_SMALLEST_DEVIATION = 1e-3


def loss_attack(observations: AnswerObservations, *, end: bool = True) -> Float[Tensor, " n"]:
    """The average loss, by default the end token included (Yeom et al. 2018)."""
    return average_loss(observations, end=end)


def zlib_attack(observations: AnswerObservations, *, end: bool = True) -> Float[Tensor, " n"]:
    """The average loss divided by the bytes of the compressed answer (Carlini et al. 2021)."""
    sizes = [len(zlib.compress(text.encode())) for text in observations.texts]
    return average_loss(observations, end=end) / torch.tensor(sizes, dtype=torch.float64)


def min_k_attack(observations: AnswerObservations, share: float = SHARE) -> Float[Tensor, " n"]:
    """Minus the mean of the lowest log-probabilities, without the end token (Shi et al. 2024)."""
    rows = observations.rows(observations.log_probability.double(), end=False)
    return torch.stack([_lowest(row, share) for row in rows])


def min_k_plus_plus_attack(observations: AnswerObservations, share: float = SHARE) -> Float[Tensor, " n"]:
    """Min-K of ``(log p − μ)/σ``, with μ and σ over the vocabulary, σ at least 1e-3 (Zhang et al. 2025)."""
    deviation = observations.deviation.double().clamp(min=_SMALLEST_DEVIATION)
    scores = (observations.log_probability.double() - observations.mean.double()) / deviation
    return torch.stack([_lowest(row, share) for row in observations.rows(scores, end=False)])


ATTACKS: dict[str, Callable[[AnswerObservations], Tensor]] = {
    "mia_loss": loss_attack,
    "mia_zlib": zlib_attack,
    "mia_min_k": min_k_attack,
    "mia_min_k_plus_plus": min_k_plus_plus_attack,
}
"""By OpenUnlearning's names. ``mnemotomy.metrics.membership.loss_auc(forget, unseen)`` turns two sets of any of these
numbers into an AUC: 1 if the forget set looks trained on, 0.5 if the two cannot be told apart."""


def _lowest(values: Float[Tensor, " tokens"], share: float) -> Float[Tensor, ""]:
    return -values.sort().values[: max(1, int(len(values) * share))].mean()
