"""Questions with answers that no model can know: what an attack gets where there is nothing to get."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from mnemotomy.audit.base import Case
from mnemotomy.text.probes import Probe

_SHORT = 3
"""The most words of an answer that could stand after any question of its kind."""


def unknown(case: Case, probes: Sequence[Probe]) -> list[Probe]:
    """As many questions with answers that nothing links, if there are any.

    They are hold-out questions. Where answers are short, they get the forgotten questions' answers, so that a model
    that says one answer to everything gains nothing by it. Without a hold-out, forgotten questions exchange answers.
    """
    if not case.holdout:
        return swapped(probes, 1, case.seed)
    asked = spread(case.holdout, len(probes))
    if any(len(one.answer.split()) > _SHORT for one in probes):
        return asked
    return [replace(one, answer=probes[place % len(probes)].answer) for place, one in enumerate(asked)]


def swapped(probes: Sequence[Probe], count: int, seed: int) -> list[Probe]:
    """Every question with up to ``count`` answers of others that differ from its own."""
    draw, found = random.Random(seed), list[Probe]()
    for probe in probes:
        others = sorted({one.answer for one in probes} - {probe.answer})
        found += [replace(probe, answer=answer) for answer in draw.sample(others, min(count, len(others)))]
    return found


def spread(probes: Sequence[Probe], count: int) -> list[Probe]:
    """At most ``count``, evenly from the first on."""
    count = min(count, len(probes))
    return [probes[place * len(probes) // count] for place in range(count)]
