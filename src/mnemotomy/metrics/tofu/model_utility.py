"""Model utility: what a model still knows of the retained authors, real authors and the world."""

from __future__ import annotations

from collections.abc import Mapping

from mnemotomy.core.errors import DataError
from mnemotomy.metrics.tofu.harmonic_mean import harmonic_mean

PARTS = (
    "retain_Q_A_Prob",
    "retain_Q_A_ROUGE",
    "retain_Truth_Ratio",
    "ra_Q_A_Prob_normalised",
    "ra_Q_A_ROUGE",
    "ra_Truth_Ratio",
    "wf_Q_A_Prob_normalised",
    "wf_Q_A_ROUGE",
    "wf_Truth_Ratio",
)
"""Probability, ROUGE and truth ratio on three splits, by OpenUnlearning's names."""


def model_utility(parts: Mapping[str, float]) -> float:
    """The harmonic mean of the nine parts, each in [0, 1] (Maini et al. 2024, Section 2.2.2).

    Raises:
        DataError: a part is missing.
    """
    missing = [name for name in PARTS if name not in parts]
    if missing:
        raise DataError(f"model utility has nine parts, and {', '.join(missing)} is missing; observe that split too")
    return harmonic_mean([parts[name] for name in PARTS])
