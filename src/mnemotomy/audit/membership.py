"""Membership inference: whether the forget set still looks like training data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.audit.attack import Attack, register
from mnemotomy.audit.base import Case, Part, Reading, Role
from mnemotomy.audit.observing import answer_scores
from mnemotomy.audit.statistics import Compared, compare_aucs
from mnemotomy.audit.unknown import swapped
from mnemotomy.metrics.tofu.answers import loss_attack, min_k_attack, min_k_plus_plus_attack, zlib_attack
from mnemotomy.observe.answers import AnswerObservations
from mnemotomy.text.probes import Probe

_REPEATED = 0.1
"""How many more of its own question's words than of another's an answer may repeat: an answer that names its subject
is likelier after its own question, even to a model that knows neither."""

_PHRASE = 3
"""The most words of an answer that continues a text and may be swapped."""


def _says(reads: str) -> str:
    """The sentence of an attacker who reads that."""
    return (
        f"{{title}}: an attacker who reads {reads} tells forgotten answers from those never learned with an AUC of "
        "{after}"
    )


@dataclass(frozen=True)
class Membership(Attack):
    """Tells the forget set from the hold-out by one number per answer; the reading is minus an attack's score.

    Where there is no hold-out, every question also gets the answers of other forgotten questions: the same answers in
    other places, so that nothing but what the model links tells them apart.

    Attributes:
        swapped: wrong answers per question, where there is no hold-out.
    """

    swapped: int = 3
    part: ClassVar[Part] = "membership"
    unit: ClassVar[str] = "AUC"

    def lacks(self, case: Case) -> str | None:
        """A hold-out, where swapped answers would betray themselves."""
        if case.holdout:
            return None
        wrong = swapped(case.forget, self.swapped, case.seed)
        if not wrong:
            return "needs a hold-out: questions like the forgotten ones, which the model never learned"
        if any(one.template.plain and len(one.answer.split()) > _PHRASE for one in case.forget):
            return "needs a hold-out: the rest of another text does not fit, which gives it away"
        if np.mean([_repeats(one) for one in case.forget]) > np.mean([_repeats(one) for one in wrong]) + _REPEATED:
            return "needs a hold-out: the answers repeat words of their questions, so swapped ones give themselves away"
        return None

    def read(self, model: nn.Module, case: Case) -> Reading:
        """The scores of the forgotten answers; the floor has those of the others. Higher looks learned."""
        others = case.holdout or swapped(case.forget, self.swapped, case.seed)
        scores = [-one for one in answer_scores(model, case, [*case.forget, *others], self.score)]
        size = len(case.forget)
        return Reading(tuple(scores[:size]), floor=tuple(scores[size:]))

    def compared(self, readings: Mapping[Role, Reading], seed: int) -> Compared:
        return compare_aucs(readings, seed)

    @abstractmethod
    def score(self, seen: AnswerObservations) -> Float[Tensor, " n"]:
        """Low for what looks learned."""


@register(
    "membership-loss",
    "Membership by loss",
    "Yeom et al. 2018, arXiv 1709.01604",
    says=_says("how likely the answers are"),
)
class Loss(Membership):
    """The average loss of the answer's tokens."""

    def score(self, seen: AnswerObservations) -> Float[Tensor, " n"]:
        return loss_attack(seen, end=False)


@register(
    "membership-zlib",
    "Membership by zlib",
    "Carlini et al. 2021, arXiv 2012.07805",
    says=_says("how likely the answers are for their compressed size"),
)
class Zlib(Membership):
    """The average loss divided by the bytes of the compressed answer."""

    def score(self, seen: AnswerObservations) -> Float[Tensor, " n"]:
        return zlib_attack(seen, end=False)


@register(
    "membership-min-k",
    "Membership by Min-K",
    "Shi et al. 2024, arXiv 2310.16789",
    says=_says("how likely the answers' least likely tokens are"),
)
class MinK(Membership):
    """The least likely tokens of the answer.

    Attributes:
        share: of the tokens.
    """

    share: float = 0.4

    def score(self, seen: AnswerObservations) -> Float[Tensor, " n"]:
        return min_k_attack(seen, self.share)


@register(
    "membership-min-k++",
    "Membership by Min-K++",
    "Zhang et al. 2025, arXiv 2404.02936",
    says=_says("how likely the answers' least likely tokens are beside all others that could stand there"),
)
class MinKPlusPlus(MinK):
    """The least likely tokens of the answer, relative to what else might have stood there."""

    def score(self, seen: AnswerObservations) -> Float[Tensor, " n"]:
        return min_k_plus_plus_attack(seen, self.share)


def _repeats(probe: Probe) -> float:
    """The share of the answer's longer words that stand in the question."""
    words = [word.strip(".,;:!?'\"").lower() for word in probe.answer.split() if len(word) > 3]
    return sum(word in probe.question.lower() for word in words) / max(1, len(words))
