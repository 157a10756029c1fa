"""What configurations are chosen on: training questions and unseen authors.

No paraphrases, false answers, test questions of the retain set or gold model are used, so model utility,
paraphrased probability, truth ratio and forget quality are entirely held out. The forget set is one set of
answers: exact memorization and extraction strength are read from it here and in the report, but rescaled
differently. Half of the unseen authors' answers in membership inference are read in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mnemotomy.metrics.membership import loss_auc, privacy_score
from mnemotomy.metrics.tofu.aggregates import harmonic_mean, relative_utility, rescaled_memorization
from mnemotomy.metrics.tofu.answers import ATTACKS, exact_memorization, extraction_strength, probability
from mnemotomy.observe.questions import QuestionObservations

SELECTION = (
    "validation: the level of unseen authors on the answers to forget, and the answers to retain that no evaluation "
    "asks for; no paraphrase, no false answer, no retain model"
)
AS_IN_THE_PAPER = "highest Overall on the test metrics, as in the paper"

Observations = Mapping[str, QuestionObservations]
_METRICS = {
    "em": exact_memorization,
    "es": extraction_strength,
    "probability": probability,
}


@dataclass(frozen=True)
class Validation:
    """How close a model comes to the ideal as known without the gold model; each in [0, 1].

    Attributes:
        forgetting: 1 if token matches, extraction strength and probability of the answers to forget are what the
            full model shows of unseen authors; their harmonic mean.
        utility: token matches and probability of retained answers, relative to the full model's.
        privacy: ``1 − 2 |AUC − 0.5|`` between the answers to forget and those about unseen authors, over the attacks.
    """

    forgetting: float
    utility: float
    privacy: float

    @property
    def score(self) -> float:
        """The harmonic mean of the three; configurations are compared by it."""
        return harmonic_mean([self.forgetting, self.utility, self.privacy])


def validation(model: Observations, full: Observations) -> Validation:
    """The three numbers, from observations of the splits ``forget``, ``retain`` and ``unseen``."""
    forgetting = []
    for metric in _METRICS.values():
        value = float(metric(model["forget"].answer).mean())
        ends = [float(metric(full[name].answer).mean()) for name in ("forget", "unseen")]
        forgetting.append(1.0 - rescaled_memorization(value, *ends))
    utility = [
        relative_utility(*(float(_METRICS[name](one["retain"].answer).mean()) for one in (model, full)))
        for name in ("em", "probability")
    ]
    privacy = [
        privacy_score(loss_auc(*(attack(model[name].answer) for name in ("forget", "unseen"))))
        for attack in ATTACKS.values()
    ]
    return Validation(harmonic_mean(forgetting), harmonic_mean(utility), harmonic_mean(privacy))
