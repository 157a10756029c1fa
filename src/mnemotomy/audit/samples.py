"""What the models wrote to a few questions, side by side, for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mnemotomy.audit.base import Reading, Role, Sample
from mnemotomy.audit.unknown import spread

SHOWN, UNSEEN = 6, 2
"""Questions of the forget set, or of the retain set, and of the hold-out."""


def side_by_side(
    readings: Mapping[Role, Reading], counted: tuple[str, str], *, fell: bool = False
) -> tuple[Mapping[str, Any], ...]:
    """A few questions with what each model wrote, and what it counted as.

    Half of them are those by which the model under audit shows most; the others are spread evenly over the rest, so
    that they are not chosen by their answers.

    Args:
        readings: of all models.
        counted: what a text that counts in full is called, and one that does not count.
        fell: first those that lost most, instead of those that say most.

    Returns:
        For each question ``question``, ``answer``, and by role ``written`` and ``counted``, with ``asked`` where that
        model was asked in other words. Hold-out questions have a key ``set``.
    """
    own = {role: {one.place: one for one in reading.samples} for role, reading in readings.items()}
    unseen = {role: {one.place: one for one in reading.unseen} for role, reading in readings.items()}
    rows = [_row(own, place, counted) for place in _chosen(own, SHOWN, fell=fell)]
    return (*rows, *({"set": "hold-out", **_row(unseen, place, counted)} for place in _chosen(unseen, UNSEEN)))


def _chosen(samples: Mapping[Role, Mapping[int, Sample]], count: int, *, fell: bool = False) -> Sequence[int]:
    """The places of the questions to show."""
    before, after = samples["before"], samples["after"]
    places = [place for place in after if place in before]
    rank = {place: after[place].value - (before[place].value if fell else 0.0) for place in places}
    first = sorted(places, key=lambda place: rank[place] if fell else -rank[place])[: count // 2]
    return [*first, *spread([place for place in places if place not in first], count - len(first))]


def _row(samples: Mapping[Role, Mapping[int, Sample]], place: int, counted: tuple[str, str]) -> dict[str, Any]:
    after = samples["after"][place]
    row: dict[str, Any] = {"question": after.question, "answer": after.answer}
    for role, by_place in samples.items():
        if place in by_place:
            one = by_place[place]
            other = {} if one.question == after.question else {"asked": one.question}
            row[role] = {**other, "written": one.written, "counted": _told(one.value, counted)}
    return row


def _told(value: float, counted: tuple[str, str]) -> str:
    """What a text counted as: in full, in part, or not."""
    if 0.0 < value < 1.0:
        return f"{100 * value:.0f} % {counted[0]}"
    return counted[value <= 0.0]
