"""Membership inference on the forget set: whether a model still treats it as training data.

The paper names no attack for its vision experiments. Here are those of the two methods that it compares with, and the
loss attack that it uses for language models.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mnemotomy.core.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]
Readings = Float[Tensor, " n"] | Float[Tensor, "n k"]
"""What an attacker knows of each example: its loss, its confidence, or several such numbers."""

FOLDS = 5
_MISSING = "membership inference needs scikit-learn: pip install scikit-learn"


def membership_accuracy(forget: Readings, unseen: Readings, *, seed: int = 0) -> float:
    """How well a logistic regression tells forgotten from never seen examples (Kurmanji et al. 2023).

    In [0, 1]; 0.5 if it cannot, as with a retrained model. The mean over five stratified folds, with as many rows drawn
    from the larger set as the smaller has.

    Args:
        forget: readings of the forgotten training examples, usually their losses.
        unseen: readings of test examples of the same classes; of other classes, even a retrained model's losses differ.
        seed: for the draw and the folds.

    Raises:
        DataError: a reading is not finite, a set has fewer than five rows, widths differ, or scikit-learn is missing.
    """
    try:
        from sklearn.model_selection import StratifiedKFold, cross_val_score
    except ImportError as error:
        raise DataError(_MISSING) from error
    generator = np.random.default_rng(seed)
    members, others = _rows(forget), _rows(unseen)
    size = min(len(members), len(others))
    if size < FOLDS:
        raise DataError(f"membership inference needs at least {FOLDS} examples of both sets, not {size}")
    sets = [rows[np.sort(generator.permutation(len(rows))[:size])] for rows in (members, others)]
    rows, labels = _stacked(sets[0], sets[1])
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return float(cross_val_score(_attack(), rows, labels, cv=folds, scoring="accuracy").mean())


def membership_efficacy(retain: Readings, unseen: Readings, forget: Readings) -> float:
    """The share of the forget set that an attack takes for never seen: MIA-Efficacy (Jia et al. 2023).

    In [0, 1]; higher is better forgotten, and a retrained model's value is the goal. The attack is a logistic
    regression that separates retained training examples from unseen ones, both weighted equally.

    Args:
        retain: readings of retained training examples (members).
        unseen: readings of test examples of the retained classes (not members).
        forget: readings of the forgotten examples.

    Raises:
        DataError: a reading is not finite, a set is empty, widths differ, or scikit-learn is not installed.
    """
    rows, labels = _stacked(_rows(retain), _rows(unseen))
    asked = _rows(forget)
    if asked.shape[1] != rows.shape[1]:
        raise DataError(f"readings of width {asked.shape[1]} and {rows.shape[1]} cannot be compared")
    return float((_attack().fit(rows, labels).predict(asked) == 0).mean())


def loss_auc(forget: Float[Tensor, " n"], unseen: Float[Tensor, " m"]) -> float:
    """The area under the curve of an attack that takes low losses for members; 0.5 if it cannot tell them apart.

    Raises:
        DataError: a loss is not finite, a set is empty, or scikit-learn is not installed.
    """
    try:
        from sklearn.metrics import roc_auc_score
    except ImportError as error:
        raise DataError(_MISSING) from error
    rows, labels = _stacked(_rows(forget), _rows(unseen))
    if rows.shape[1] != 1:
        raise DataError(f"give one loss per example, not {rows.shape[1]}")
    return float(roc_auc_score(labels, -rows[:, 0]))


def privacy_score(auc: float) -> float:
    """``1 − 2 |AUC − 0.5|`` (Eq. 30 of arXiv 2606.14997); 1 if members cannot be told apart."""
    return 1.0 - 2.0 * abs(auc - 0.5)


def _attack() -> Any:
    """A logistic regression on standardised readings that weights members and others equally."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise DataError(_MISSING) from error
    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))


def _rows(readings: Tensor) -> Array:
    rows = readings.detach().double().cpu().reshape(len(readings), -1).numpy() if len(readings) else np.empty((0, 1))
    if not len(rows):
        raise DataError("membership inference needs examples of every set, but one is empty")
    if not np.isfinite(rows).all():
        raise DataError("a reading is NaN or infinite; clip losses, or leave this model out")
    return rows


def _stacked(members: Array, others: Array) -> tuple[Array, Array]:
    """Both sets as one, members labelled 1."""
    if members.shape[1] != others.shape[1]:
        raise DataError(f"readings of width {members.shape[1]} and {others.shape[1]} cannot be compared")
    labels = np.concatenate([np.ones(len(members), dtype=int), np.zeros(len(others), dtype=int)])
    return np.concatenate([members, others]), labels
