"""The harmonic mean, which one bad score brings down."""

from __future__ import annotations

from collections.abc import Sequence

from mnemotomy.core.errors import DataError

EPSILON = 1e-10


def harmonic_mean(scores: Sequence[float]) -> float:
    """``n / Σ 1/max(s, 1e-10)`` (Eq. 26 of arXiv 2606.14997): practically 0 where a score is 0.

    Raises:
        DataError: there is no score.
    """
    if not scores:
        raise DataError("there are no scores to average")
    return len(scores) / sum(1.0 / max(score, EPSILON) for score in scores)
