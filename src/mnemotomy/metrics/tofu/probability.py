"""The probability of an answer, made independent of its length."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.core.errors import DataError
from mnemotomy.observe.answers import AnswerObservations

GUARD = 1e-10
"""OpenUnlearning's: added to what divides."""


def average_loss(observations: AnswerObservations) -> Float[Tensor, " n"]:
    """Minus the mean log-probability of each answer's tokens, the end token included, in nats."""
    rows = observations.rows(observations.log_probability.double(), end=True)
    return -torch.stack([row.mean() for row in rows])


def probability(observations: AnswerObservations) -> Float[Tensor, " n"]:
    """``P(a|q)^(1/|a|)``: the geometric mean of the tokens' probabilities (Maini et al. 2024, Section 2.2.2)."""
    return (-average_loss(observations)).exp()


def normalised_probability(true: AnswerObservations, perturbed: AnswerObservations) -> Float[Tensor, " n"]:
    """``p / (p + Σ p' + 1e-10)`` over the false answers p': for questions with options, as of real authors.

    Raises:
        DataError: the false answers do not belong to the true ones.
    """
    right = probability(true)
    return right / (right + grouped(probability(perturbed), len(true)).sum(dim=1) + GUARD)


def grouped(values: Float[Tensor, " rows"], questions: int) -> Float[Tensor, "n k"]:
    """One number per false answer as one row per question.

    Raises:
        DataError: the questions do not have equally many.
    """
    if not questions or not len(values) or len(values) % questions:
        raise DataError(f"{len(values)} false answers cannot be told apart by {questions} questions; observe them anew")
    return values.reshape(questions, -1)
