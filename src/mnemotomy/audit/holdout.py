"""Whether a hold-out shows what not knowing looks like: no model has learned it, and its answers have the same form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from mnemotomy.audit.asking import Greedy
from mnemotomy.audit.attack import Attack, percent
from mnemotomy.audit.base import Case, Finding, Part, Reading
from mnemotomy.audit.changing import mean_rows
from mnemotomy.audit.observing import answer_scores
from mnemotomy.audit.reading import Reader
from mnemotomy.audit.statistics import alike, compare
from mnemotomy.audit.unknown import GUESSES, spread, unknown
from mnemotomy.core.errors import DataError
from mnemotomy.core.modules import device_of
from mnemotomy.core.precision import autocast
from mnemotomy.metrics.tofu.answers import exact_memorization
from mnemotomy.text.probes import Probe

_NAMED = 10


def check_unlearned(reader: Reader, case: Case) -> None:
    """Refuse a hold-out that the model before answers: what it knows would count as not knowing.

    Raises:
        DataError: it answers it beyond doubt, by the rule for the forget set.
    """
    reading = reader.reading(Greedy(), "before", case.unseen)
    if compare({"before": reading, "after": reading}, case.seed).trace is None:
        return
    said, guessed = (percent(sum(one) / len(one)) if one else "0 %" for one in (reading.values, reading.floor))
    known = [one for one, value in zip(case.unseen.forget, reading.values, strict=True) if value > 0.0]
    named = ", ".join(repr(one.question) for one in known[:_NAMED]) + (" ..." if len(known) > _NAMED else "")
    raise DataError(
        f"the model before answers {said} of the hold-out ({guessed} by guessing), so it does not show what not "
        f"knowing looks like; leave out the {len(known)} questions of which it says something: {named}"
    )


def with_likeness(findings: Sequence[Finding], reader: Reader, case: Case) -> list[Finding]:
    """The findings, those by predicted tokens with the likeness of the hold-out, where its own answers are their floor.

    The model under audit is the judge. The one before knows the forgotten answers by heart, and goes on with them
    behind any question.
    """
    attack = OtherAnswers()
    if len(unknown(case, case.forget, GUESSES)) > 1 or attack.lacks(case) is not None:
        return list(findings)
    found = reader.reading(attack, "after", case)
    like = alike(found.values, found.floor, case.seed)
    return [replace(one, likeness=like) if one.part == attack.part else one for one in findings]


@dataclass(frozen=True)
class OtherAnswers(Attack):
    """How many tokens of the answers to other questions of the same set are predicted; the floor is the hold-out's.

    Attributes:
        most: questions of each set.
    """

    most: int = 100
    name: ClassVar[str] = "other-answers"
    part: ClassVar[Part] = "relearn"

    def lacks(self, case: Case) -> str | None:
        return None if all(self.sets(case)) else "needs different answers in both sets"

    def sets(self, case: Case) -> list[list[list[Probe]]]:
        """Of each set, some lists of its questions with answers to others."""
        known = case.without_holdout
        return [unknown(known, spread(some, self.most), GUESSES) for some in (case.forget, case.holdout)]

    def read(self, model: nn.Module, case: Case) -> Reading:
        sets = self.sets(case)
        with autocast(device_of(model), case.precision):  # as the attacks that it is compared with
            probes = [probe for lists in sets for some in lists for probe in some]
            scores = iter(answer_scores(model, case, probes, exact_memorization))
        values, floor = (mean_rows([tuple(next(scores) for _ in some) for some in lists]) for lists in sets)
        return Reading(values, floor=floor)
