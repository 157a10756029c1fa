"""Spearman's rank correlation, by scipy."""

from __future__ import annotations

import warnings
from typing import Any

from mnemotomy.core.errors import DataError


def spearman(left: Any, right: Any) -> float:
    """ρ of two sequences of numbers; equal values share the mean of their ranks. NaN if one side is constant.

    Raises:
        DataError: scipy is not installed.
    """
    try:
        from scipy.stats import spearmanr
    except ImportError as error:
        raise DataError("rank correlations need scipy: pip install scipy") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about constant values
        return float(spearmanr(left, right).statistic)
