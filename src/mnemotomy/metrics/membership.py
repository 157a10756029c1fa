"""Membership inference on the forget set: whether a model still treats it as training data."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mnemotomy.core.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]
Readings = Float[Tensor, " n"] | Float[Tensor, "n k"]
"""What an attacker knows of each example: its loss, its confidence, or several such numbers."""

NO_SKLEARN = "membership inference needs scikit-learn: pip install scikit-learn"


def loss_auc(forget: Float[Tensor, " n"], unseen: Float[Tensor, " m"]) -> float:
    """The area under the curve of an attack that takes low losses for members; 0.5 if it cannot tell them apart.

    Raises:
        DataError: a loss is not finite, a set is empty, or scikit-learn is not installed.
    """
    try:
        from sklearn.metrics import roc_auc_score
    except ImportError as error:
        raise DataError(NO_SKLEARN) from error
    rows, labels = stacked(rows_of(forget), rows_of(unseen))
    if rows.shape[1] != 1:
        raise DataError(f"give one loss per example, not {rows.shape[1]}")
    return float(roc_auc_score(labels, -rows[:, 0]))


def privacy_score(auc: float) -> float:
    """``1 − 2 |AUC − 0.5|`` (Eq. 30 of arXiv 2606.14997); 1 if members cannot be told apart."""
    return 1.0 - 2.0 * abs(auc - 0.5)


def rows_of(readings: Tensor) -> Array:
    """Readings as rows, in float64; errors as for ``loss_auc``."""
    rows = readings.detach().double().cpu().reshape(len(readings), -1).numpy() if len(readings) else np.empty((0, 1))
    if not len(rows):
        raise DataError("membership inference needs examples of every set, but one is empty")
    if not np.isfinite(rows).all():
        raise DataError("a reading is NaN or infinite; clip losses, or leave this model out")
    return rows


def stacked(members: Array, others: Array) -> tuple[Array, Array]:
    """Both sets as one, members labelled 1."""
    if members.shape[1] != others.shape[1]:
        raise DataError(f"readings of width {members.shape[1]} and {others.shape[1]} cannot be compared")
    labels = np.concatenate([np.ones(len(members), dtype=int), np.zeros(len(others), dtype=int)])
    return np.concatenate([members, others]), labels
