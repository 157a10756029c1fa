"""From the numbers of answers to those of a model: quality, utility, fluency, and the scale between two models."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from mnemotomy.core.errors import DataError

EPSILON = 1e-10


def harmonic_mean(scores: Sequence[float]) -> float:
    """``n / Σ 1/max(s, 1e-10)`` (Eq. 26 of arXiv 2606.14997): practically 0 if a score is 0.

    Raises:
        DataError: there is no score.
    """
    if not scores:
        raise DataError("there are no scores to average")
    return len(scores) / sum(1.0 / max(score, EPSILON) for score in scores)


def forget_quality(ratios: Float[Tensor, " n"], retained: Float[Tensor, " m"]) -> float:
    """The p-value of a two-sided Kolmogorov–Smirnov test (Eq. 28 of arXiv 2606.14997).

    Args:
        ratios: truth ratios of the model on the forget set.
        retained: of the gold model.

    Raises:
        DataError: a set is empty, or scipy is not installed.
    """
    try:
        from scipy.stats import ks_2samp
    except ImportError as error:
        raise DataError("forget quality needs scipy: pip install scipy") from error
    if not len(ratios) or not len(retained):
        raise DataError("forget quality needs truth ratios of both models, but one has none")
    return float(ks_2samp(ratios.double().numpy(), retained.double().numpy()).pvalue)


def log_forget_quality(quality: float) -> float:
    """``log10 p``, as in the paper; 0 at best, and finite even if p is too small for a float."""
    return math.log10(max(quality, sys.float_info.min))


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
        raise DataError(f"model utility needs nine parts, but {', '.join(missing)} is missing; observe that split too")
    return harmonic_mean([parts[name] for name in PARTS])


def rescaled_memorization(value: float, full: float, retained: float) -> float:
    """``|E − E_ret| / |E_full − E_ret|``, clipped to [0, 1] (Eq. 27 of arXiv 2606.14997); lower is better.

    0 for the gold model's value, 1 for the full one's or as far off on the other side. If both agree, there is nothing
    to forget: 0 at their value, 1 elsewhere.
    """
    return min(abs(value - retained) / max(abs(full - retained), EPSILON), 1.0)


def relative_utility(value: float, full: float) -> float:
    """``A / A_full``, clipped to [0, 1] (Eq. 29 of arXiv 2606.14997); 1 if nothing was lost."""
    return min(max(value / max(full, EPSILON), 0.0), 1.0)


FLUENCY = "forget_fluency"
"""By a classifier of gibberish: the probability of clean text, in [0, 1]; higher is better (Appendix E.2.3)."""

PERPLEXITY = "forget_perplexity_base"
"""Without a classifier: perplexity under a base model, at least 1; lower is better."""

HIGHEST_LOSS = 700.0
"""In nats; ``exp`` of more is not finite."""


def classified_fluency(clean: Sequence[float]) -> dict[str, Any]:
    """The entry of ``forget_fluency``: the mean probability that an answer is clean.

    Raises:
        DataError: there is no answer.
    """
    if not clean:
        raise DataError("there are no written answers to judge")
    return {
        "agg_value": sum(clean) / len(clean),
        "value_by_index": {str(index): {"score": value} for index, value in enumerate(clean)},
    }


def base_perplexity(losses: Sequence[float | None]) -> dict[str, Any]:
    """The entry of ``forget_perplexity_base``: ``exp`` of the mean loss over the answers.

    Args:
        losses: the average loss of each answer under the base model, in nats; None for an empty one, which counts as
            the worst of the others, or as ``HIGHEST_LOSS`` if all are empty: saying nothing is not fluent.
    """
    worst = max((loss for loss in losses if loss is not None), default=HIGHEST_LOSS)
    filled = [worst if loss is None else loss for loss in losses]
    return {
        "agg_value": math.exp(min(sum(filled) / len(filled), HIGHEST_LOSS)),
        "value_by_index": {str(index): {"avg_loss": loss} for index, loss in enumerate(losses)},
    }


def relative_fluency(value: float, full: float) -> float:
    """``perplexity_full / perplexity``, clipped to [0, 1]; 1 if answers are as likely as the full model's.

    The paper's measure needs a classifier instead: text that repeats itself is likely too.
    """
    return min(full / max(value, 1.0), 1.0)
