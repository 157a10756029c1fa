"""Questions with answers that no model can know: what an attack gets where there is nothing to get."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from mnemotomy.audit.base import Case
from mnemotomy.audit.judging import exchanged, telling
from mnemotomy.text.probes import Probe

Thing = TypeVar("Thing")

_SHORT = 3
"""The most words, or telling words, of an answer that could stand after any question of its kind."""

GUESSES = 4
"""Answers that nothing links, for each question: the mean over them is a floor with less noise than one."""


def unknown(case: Case, probes: Sequence[Probe], times: int = 1, *, framed: bool = False) -> list[list[Probe]]:
    """Up to ``times`` lists of as many questions with answers that nothing links, if there are any.

    They are hold-out questions. Where answers are short, they get the forgotten questions' answers. Without a hold-out,
    forgotten questions take each other's answers. In each list every answer stands as often as among the forgotten
    questions, so that a model that says one answer to everything, or knows how frequent each is, gains nothing by it.

    Args:
        case: of the audit.
        probes: forgotten questions.
        times: how many lists.
        framed: exchange the telling part of an answer alone, since what stands around it follows from the question.
    """
    asked = spread(case.holdout, len(probes)) if case.holdout else list(probes)
    words = [telling(one.answer, one.question) if framed else one.answer.split() for one in probes]
    if case.holdout and any(len(one) > _SHORT for one in words):
        return [asked]
    if not case.holdout and len({one.answer for one in probes}) < 2:
        return []
    first, count = (0 if case.holdout else 1), len(probes)
    shifts = spread(range(first, count), times)

    def told(one: Probe, other: Probe) -> Probe:
        parts = (one.answer, one.question, other.answer, other.question)
        return replace(one, answer=exchanged(*parts) if framed else other.answer, also=())

    return [[told(one, probes[(place + shift) % count]) for place, one in enumerate(asked)] for shift in shifts]


def lacks_unknown(case: Case, why: str) -> str | None:
    """What the case needs to have questions with unknown answers, for what follows from ``why``."""
    if unknown(case, case.forget):
        return None
    return f"needs a hold-out, or forgotten questions with different answers, to see {why}"


def swapped(probes: Sequence[Probe], count: int, seed: int) -> list[Probe]:
    """Every question with up to ``count`` answers of others that differ from its own."""
    draw, found = random.Random(seed), list[Probe]()
    for probe in probes:
        others = sorted({one.answer for one in probes} - {*probe.answers})
        found += [replace(probe, answer=answer, also=()) for answer in draw.sample(others, min(count, len(others)))]
    return found


def spread(things: Sequence[Thing], count: int) -> list[Thing]:
    """At most ``count``, evenly from the first on."""
    count = min(count, len(things))
    return [things[place * len(things) // count] for place in range(count)]
