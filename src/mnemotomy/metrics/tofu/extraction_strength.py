"""Extraction strength: how little of an answer a model needs to be given to write the rest."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mnemotomy.observe.answers import AnswerObservations


def extraction_strength(observations: AnswerObservations) -> Float[Tensor, " n"]:
    """``1 − k/T``, k tokens of T being the shortest prefix after which all are predicted (Carlini et al. 2021).

    The end token does not count. At least ``1/T``, as in OpenUnlearning: a wrong last token scores as a right one.
    """
    return torch.tensor([_strength(row) for row in observations.rows(observations.hit, end=False)], dtype=torch.float64)


def _strength(hits: Bool[Tensor, " tokens"]) -> float:
    misses = (~hits).nonzero()
    prefix = int(misses[-1]) + 1 if len(misses) else 0
    return 1.0 - min(prefix, len(hits) - 1) / len(hits)
