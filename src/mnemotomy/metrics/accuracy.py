"""Accuracy by class, and what an erasure did to it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def class_accuracies(
    predicted: Int[Tensor, " n"], labels: Int[Tensor, " n"], classes: int
) -> Float[Tensor, " classes"]:
    """The share of each class's examples that are predicted as it; NaN for a class without examples."""
    hits = torch.bincount(labels[predicted == labels], minlength=classes).float()
    return hits / torch.bincount(labels, minlength=classes).float()


def diagonal_and_rest(matrix: Float[Tensor, "n n"]) -> tuple[float, float]:
    """The largest diagonal and the mean off-diagonal entry of an accuracy matrix (erased class × tested class)."""
    off = ~torch.eye(len(matrix), dtype=torch.bool)
    return float(matrix.diagonal().max()), float(matrix[off].mean())
