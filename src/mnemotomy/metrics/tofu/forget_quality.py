"""Forget quality: whether a model's truth ratios could be those of a model that never saw the forget set."""

from __future__ import annotations

import math
import sys

from jaxtyping import Float
from torch import Tensor

from mnemotomy.core.errors import DataError


def forget_quality(ratios: Float[Tensor, " n"], retained: Float[Tensor, " m"]) -> float:
    """The p-value of a two-sided Kolmogorov–Smirnov test (Eq. 28 of arXiv 2606.14997).

    Args:
        ratios: truth ratios of the model on the forget set.
        retained: of the model that was trained without it.

    Raises:
        DataError: a set is empty, or scipy is not installed.
    """
    try:
        from scipy.stats import ks_2samp  # type: ignore[import-untyped]
    except ImportError as error:
        raise DataError("forget quality needs scipy: pip install 'mnemotomy[tofu]'") from error
    if not len(ratios) or not len(retained):
        raise DataError("forget quality needs truth ratios of both models; one has none")
    return float(ks_2samp(ratios.double().numpy(), retained.double().numpy()).pvalue)


def log_forget_quality(quality: float) -> float:
    """``log10 p``, as the paper reports it: 0 at best; finite also where p is too small for a float."""
    return math.log10(max(quality, sys.float_info.min))
