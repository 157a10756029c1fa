"""Exact memorization: how many tokens of an answer a model predicts."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.observe.answers import AnswerObservations


def exact_memorization(observations: AnswerObservations) -> Float[Tensor, " n"]:
    """The share of each answer's tokens that are the likeliest (Tirumala et al. 2022); the end token does not count."""
    return torch.stack([row.double().mean() for row in observations.rows(observations.hit, end=False)])
