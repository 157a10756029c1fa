"""Observations of answers with given probabilities, for tests of metrics."""

from __future__ import annotations

import torch

from mnemotomy.observe.answers import AnswerObservations


def observed(
    *probabilities: list[float],
    hits: list[list[int]] | None = None,
    mean: float = -1.0,
    deviation: float = 0.5,
    texts: tuple[str, ...] = (),
) -> AnswerObservations:
    """Answers with these probabilities of their tokens, the end token's last."""
    flat = torch.tensor([value for row in probabilities for value in row])
    marks = [[1] * len(row) for row in probabilities] if hits is None else hits
    return AnswerObservations(
        tokens=torch.arange(len(flat)),
        log_probability=flat.log(),
        hit=torch.tensor([bool(mark) for row in marks for mark in row]),
        mean=torch.full_like(flat, mean),
        deviation=torch.full_like(flat, deviation),
        lengths=torch.tensor([len(row) for row in probabilities]),
        texts=texts or tuple(f"answer {index}" for index in range(len(probabilities))),
    )
