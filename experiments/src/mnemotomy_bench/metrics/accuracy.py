"""Accuracy by class, and what an erasure did to it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mnemotomy.core.errors import DataError


def class_accuracies(
    predicted: Int[Tensor, " n"], labels: Int[Tensor, " n"], classes: int
) -> Float[Tensor, " classes"]:
    """The share of each class's examples that are predicted correctly; NaN for a class without examples.

    A prediction outside ``0 … classes − 1`` (from a model with more outputs than classes) is wrong.

    Raises:
        DataError: there are more or fewer predictions than labels, or a label is not in ``0 … classes − 1``.
    """
    if len(predicted) != len(labels):
        raise DataError(f"{len(predicted)} predictions came with {len(labels)} labels; give one for each example")
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise DataError(
            f"label {int(outside[0])} is not in 0 … {classes - 1}; give as many classes as there are labels"
        )
    hits = torch.bincount(labels[predicted == labels], minlength=classes).float()
    return hits / torch.bincount(labels, minlength=classes).float()


def diagonal_and_rest(matrix: Float[Tensor, "n n"]) -> tuple[float, float]:
    """The largest diagonal and the mean off-diagonal entry of an accuracy matrix (erased class × tested class)."""
    off = ~torch.eye(len(matrix), dtype=torch.bool)
    return float(matrix.diagonal().max()), float(matrix[off].mean())
