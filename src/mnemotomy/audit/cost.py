"""How long an audit takes, about, from a few questions that are asked and timed before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from torch import nn

from mnemotomy.audit.attack import Attack
from mnemotomy.audit.base import Case
from mnemotomy.audit.unknown import spread
from mnemotomy.audit.writing import greedy_answers

_ASKED = 4, 12  # questions that are asked and timed: what more of them take is told by the difference


@dataclass(frozen=True)
class AuditCost:
    """An estimate of an audit's time.

    Attributes:
        seconds: of all attacks on all models.
        asking: of those that ask alone.
    """

    seconds: float
    asking: float

    def told(self, questions: int, models: int, *, resumes: bool = False) -> str:
        """The estimate for so many questions; ``resumes`` if an earlier run may have done a part of it."""
        count = f"{questions} question{'s' if questions > 1 else ''} to ask {models} models"
        return f"{count}; the audit takes {self}{'; less where an earlier run was kept' if resumes else ''}"

    def __str__(self) -> str:
        less = self.asking > 0.0 and _minutes(self.asking) < _minutes(self.seconds)
        return _told(self.seconds) + (f"; --only asking takes {_told(self.asking)}" if less else "")


def cost_of_audit(model: nn.Module, case: Case, chosen: Sequence[Attack], models: int) -> AuditCost:
    """The time of an audit at the speed of a few questions; it is longer than that of one that resumes.

    A reading takes as long as it takes the model before to answer the forget set's questions, by the attack's ``cost``
    and with the hold-out.

    Args:
        model: the one before.
        case: of the audit.
        chosen: the attacks.
        models: how many.
    """
    usual = _usual(model, case)
    times = {one: usual * models * one.cost * _sets(one, case) for one in chosen if one.lacks(case) is None}
    asking = sum(seconds for one, seconds in times.items() if one.part == "asking")
    return AuditCost(sum(times.values()), asking)


def _usual(model: nn.Module, case: Case) -> float:
    """The seconds in which a model answers the forget set's questions, told from few of them."""
    count, (least, most) = len(case.forget), _ASKED
    _answering(model, case, 1)  # first passes are slow
    if count <= most:
        return _answering(model, case, count)
    few, several = (_answering(model, case, number) for number in (least, most))
    return several + (count - most) * max(several - few, 0.0) / (most - least)


def _answering(model: nn.Module, case: Case, count: int) -> float:
    asked = spread(case.forget, count)
    start = perf_counter()
    greedy_answers(model, replace(case, forget=asked, holdout=()), asked)
    return perf_counter() - start


def _sets(attack: Attack, case: Case) -> float:
    """How many times the questions of the forget set are asked: the hold-out as well, or not."""
    if attack.holdout == "unread" or not case.holdout:
        return 1.0
    return 1.0 + min(1.0, len(case.holdout) / len(case.forget))


def _minutes(seconds: float) -> int:
    """Rounded, above ten minutes to five."""
    minutes = max(1, round(seconds / 60))
    return minutes if minutes <= 10 else 5 * round(minutes / 5)


def _told(seconds: float) -> str:
    if seconds < 60:
        return "less than a minute"
    minutes = _minutes(seconds)
    return f"about {minutes} minute{'s' if minutes > 1 else ''}"
