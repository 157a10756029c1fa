"""How reliable a mean is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnemotomy.core.errors import DataError

_LARGEST = 10_000_000  # resampled values in memory at once


def bootstrap_interval(
    values: Sequence[float], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """The mean, and the lower and upper end of its bias-corrected and accelerated bootstrap interval.

    Equal values give an interval of width 0; a single value gives NaN for both ends.

    Raises:
        DataError: there is no value, one is not finite, the level is not within (0, 1), or scipy is not installed.
    """
    sample = _checked(values)
    if not 0.0 < level < 1.0:
        raise DataError(f"a confidence level must be between 0 and 1, not {level}")
    mean = float(sample.mean())
    if len(sample) == 1:
        return mean, math.nan, math.nan
    if np.ptp(sample) == 0.0:
        return mean, mean, mean
    try:
        from scipy.stats import bootstrap
    except ImportError as error:
        raise DataError("bootstrap intervals need scipy: pip install scipy") from error
    for method in ("BCa", "percentile"):  # if the correction is undefined, plain percentiles are used
        interval = bootstrap(
            (sample,),
            np.mean,
            confidence_level=level,
            n_resamples=resamples,
            batch=max(1, _LARGEST // len(sample)),
            method=method,
            rng=np.random.default_rng(seed),
        ).confidence_interval
        if math.isfinite(interval.low) and math.isfinite(interval.high):
            break
    return mean, float(interval.low), float(interval.high)


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """The mean and the standard deviation, with n − 1 in its denominator: NaN for a single value.

    Raises:
        DataError: there are no values, or one is not finite.
    """
    sample = _checked(values)
    return float(sample.mean()), float(sample.std(ddof=1)) if len(sample) > 1 else math.nan


def averaged(records: Sequence[Mapping[str, Any]], key: str) -> dict[str, float | None]:
    """The mean of ``key`` over the records that have a number there, and ``{key}_spread`` if several have one."""
    values = [record[key] for record in records if record.get(key) is not None]
    if not values:
        return {key: None}
    mean, spread = mean_and_spread(values)
    return {key: mean, f"{key}_spread": spread} if len(values) > 1 else {key: mean}


def _checked(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    sample = np.asarray(values, dtype=np.float64).reshape(-1)
    if not len(sample):
        raise DataError("there are no values to average")
    if not np.isfinite(sample).all():
        raise DataError("a value is NaN or infinite; leave it out before averaging")
    return sample
