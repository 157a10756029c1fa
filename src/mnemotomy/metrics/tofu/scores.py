"""A row of Table 6: memorization, utility and privacy on the paper's scale, and their harmonic mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mnemotomy.core.errors import DataError
from mnemotomy.metrics.membership import loss_auc, privacy_score
from mnemotomy.metrics.tofu.aggregates import (
    FLUENCY,
    PERPLEXITY,
    forget_quality,
    harmonic_mean,
    log_forget_quality,
    relative_fluency,
    relative_utility,
    rescaled_memorization,
)
from mnemotomy.metrics.tofu.answers import ATTACKS
from mnemotomy.metrics.tofu.evaluation import values_of

MEMORIZATION = {
    "em": "exact_memorization",
    "es": "extraction_strength",
    "pp": "forget_Q_A_PARA_Prob",
    "tr": "forget_truth_ratio",
}
"""The metrics of memorization by their columns in Table 6."""


@dataclass(frozen=True)
class Scores:
    """One row of Table 6 of arXiv 2606.14997; everything but the last in [0, 1].

    Attributes:
        memorization: rescaled ``em``, ``es``, ``pp`` and ``tr`` (Eq. 27); lower is better.
        utility: ``mu``, and if fluency was measured ``ff`` (by a classifier) or ``ff_perplexity`` (under a base model)
            (Eq. 29); higher is better.
        privacy: by attack, ``1 − 2 |AUC − 0.5|`` (Eq. 30); higher is better.
        forget_quality: ``log10 p`` (Eq. 28); 0 at best.
    """

    memorization: Mapping[str, float]
    utility: Mapping[str, float]
    privacy: Mapping[str, float]
    forget_quality: float

    @property
    def memorization_score(self) -> float:
        """The harmonic mean of ``1 −`` each rescaled metric (Eq. 26)."""
        return harmonic_mean([1.0 - value for value in self.memorization.values()])

    @property
    def utility_score(self) -> float:
        """The harmonic mean of the parts (Eq. 26)."""
        return harmonic_mean(list(self.utility.values()))

    @property
    def privacy_score(self) -> float:
        """The harmonic mean over the attacks (Eq. 26)."""
        return harmonic_mean(list(self.privacy.values()))

    @property
    def overall(self) -> float:
        """The harmonic mean of the three scores (Eq. 26)."""
        return harmonic_mean([self.memorization_score, self.utility_score, self.privacy_score])

    def row(self) -> dict[str, float]:
        """The columns of Table 6, from left to right."""
        return {
            "overall": self.overall,
            "memorization": self.memorization_score,
            **self.memorization,
            "utility": self.utility_score,
            **self.utility,
            "privacy": self.privacy_score,
            **self.privacy,
            "forget_quality": self.forget_quality,
        }


def scores(
    evaluation: Mapping[str, Mapping[str, Any]],
    full: Mapping[str, Mapping[str, Any]],
    retained: Mapping[str, Mapping[str, Any]],
) -> Scores:
    """A model's scores, from its evaluation and those of the full and of the gold model.

    As in the paper, an attack's AUC separates the model's numbers on the forget set from the gold model's on the same
    examples, so the gold model itself scores 1. OpenUnlearning's AUC, against the holdout, is in the evaluation.

    Raises:
        DataError: an evaluation lacks a metric, or has it for other examples.
    """
    utility = {"mu": relative_utility(*(_aggregate(one, "model_utility") for one in (evaluation, full)))}
    if FLUENCY in evaluation and FLUENCY in full:
        utility["ff"] = relative_utility(*(_aggregate(one, FLUENCY) for one in (evaluation, full)))
    elif PERPLEXITY in evaluation and PERPLEXITY in full:
        utility["ff_perplexity"] = relative_fluency(*(_aggregate(one, PERPLEXITY) for one in (evaluation, full)))
    ratios = [values_of(one, "forget_truth_ratio") for one in (evaluation, retained)]
    if len(ratios[0]) != len(ratios[1]):
        raise DataError(f"the evaluations have {len(ratios[0])} and {len(ratios[1])} forgotten examples; use one split")
    return Scores(
        memorization={
            column: rescaled_memorization(*(_aggregate(one, metric) for one in (evaluation, full, retained)))
            for column, metric in MEMORIZATION.items()
        },
        utility=utility,
        privacy={
            f"s_{name.removeprefix('mia_')}": privacy_score(
                loss_auc(*(values_of(one, name, "forget") for one in (evaluation, retained)))
            )
            for name in ATTACKS
        },
        forget_quality=log_forget_quality(forget_quality(*ratios)),
    )


def _aggregate(evaluation: Mapping[str, Mapping[str, Any]], metric: str) -> float:
    value = evaluation.get(metric, {}).get("agg_value")
    if value is None:
        raise DataError(f"the evaluation lacks {metric!r}; evaluate again with the splits that it needs")
    return float(value)
