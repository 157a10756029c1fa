"""Raw metrics on the scale between the full model and the one that never saw the forget set."""

from __future__ import annotations

from mnemotomy.metrics.tofu.harmonic_mean import EPSILON


def rescaled_memorization(value: float, full: float, retained: float) -> float:
    """``|E − E_ret| / |E_full − E_ret|``, clipped to [0, 1] (Eq. 27 of arXiv 2606.14997); lower is better.

    0 as the gold model, 1 as the full one or as far off on the other side. Where both agree there is nothing to
    forget: 0 at their value, 1 elsewhere.
    """
    return min(abs(value - retained) / max(abs(full - retained), EPSILON), 1.0)


def relative_utility(value: float, full: float) -> float:
    """``A / A_full``, clipped to [0, 1] (Eq. 29 of arXiv 2606.14997): 1 where nothing was lost."""
    return min(max(value / max(full, EPSILON), 0.0), 1.0)
