"""The membership attacks of the methods that the paper compares with; it names none for its vision experiments."""

from __future__ import annotations

from typing import Any

import numpy as np

from mnemotomy.core.errors import DataError
from mnemotomy.metrics.membership import NO_SKLEARN, Readings, rows_of, stacked

FOLDS = 5


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
        raise DataError(NO_SKLEARN) from error
    generator = np.random.default_rng(seed)
    members, others = rows_of(forget), rows_of(unseen)
    size = min(len(members), len(others))
    if size < FOLDS:
        raise DataError(f"membership inference needs at least {FOLDS} examples of both sets, not {size}")
    sets = [rows[np.sort(generator.permutation(len(rows))[:size])] for rows in (members, others)]
    rows, labels = stacked(sets[0], sets[1])
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
    rows, labels = stacked(rows_of(retain), rows_of(unseen))
    asked = rows_of(forget)
    if asked.shape[1] != rows.shape[1]:
        raise DataError(f"readings of width {asked.shape[1]} and {rows.shape[1]} cannot be compared")
    return float((_attack().fit(rows, labels).predict(asked) == 0).mean())


def _attack() -> Any:
    """A logistic regression on standardised readings that weights members and others equally."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise DataError(NO_SKLEARN) from error
    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
