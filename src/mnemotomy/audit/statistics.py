"""Means with their uncertainty, and what is left of what a model knew: a Bayesian bootstrap over questions.

Each question gets a random weight (Rubin 1981). For numbers in [0, 1], pseudo-answers 0 and 1 of half a question each
are added, so that 0 of 20 is not taken for certainty; for yes and no this is Jeffreys' interval. Models that were asked
the same questions share the weights.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mnemotomy.audit.base import Interval, Likeness, Reading, Role
from mnemotomy.core.seeds import mix

DRAWS = 4000
_LEVEL = (2.5, 97.5)
_KNOWN = 0.1  # a share that a model must have known before, beyond doubt; the tenth part of less says nothing
_FLOOR, _MODELS = 1, 2  # the streams of random numbers

Draws = np.ndarray[Any, np.dtype[np.float64]]


class Compared(NamedTuple):
    """What readings of one attack say together.

    Attributes:
        means: by role, and ``floor``, that of the model under audit.
        trace: ``(after − floor) / (before − floor)``; None if before is not above its floor.
        change: ``after − before``.
        at: the number of samples, where several were drawn for a question.
        likeness: of the hold-out to the forget set, where the floors are read from it.
    """

    means: dict[str, Interval]
    trace: Interval | None
    change: Interval
    at: str = ""
    likeness: Likeness | None = None

    @property
    def unknown(self) -> Interval:
        """The level where nothing is known."""
        return self.means.get("gold") or self.means.get("floor") or Interval(0.0, 0.0, 0.0)

    @property
    def above(self) -> float:
        """How far the model before was above that level."""
        return self.means["before"].value - self.unknown.value

    @property
    def blur(self) -> float:
        """Half of the interval of a trace expected for a model that knows nothing: its own guesses' and the level's."""
        widths = [(one.high - one.low) / 2.0 for one in (self.means.get("floor", self.unknown), self.unknown)]
        return math.hypot(*widths) / self.above if self.above > 0.0 else math.inf


def draws(series: Sequence[Sequence[float]], seed: int, *, bounded: bool = True) -> Draws:
    """Random means, ``[series, DRAWS]``; the series are of the same questions and share their weights.

    Args:
        series: one number per question each; all of the same length.
        seed: of the weights.
        bounded: whether the numbers lie in [0, 1].
    """
    values = np.asarray(series, dtype=np.float64)
    sizes = np.ones(values.shape[1])
    if bounded:
        pseudo = np.array(list(itertools.product((0.0, 1.0), repeat=len(values)))).T
        values = np.concatenate([values, pseudo], axis=1)
        sizes = np.concatenate([sizes, np.full(pseudo.shape[1], 1.0 / pseudo.shape[1])])
    weights = np.random.default_rng(seed).standard_gamma(sizes, size=(DRAWS, len(sizes)))
    found: Draws = values @ (weights / weights.sum(axis=1, keepdims=True)).T
    return found


def interval(values: Sequence[float], seed: int = 0, *, bounded: bool = True) -> Interval:
    """The mean with its 95 % interval."""
    return _interval(float(np.mean(values)), draws([values], mix(seed, _MODELS), bounded=bounded)[0])


def compare(readings: Mapping[Role, Reading], seed: int = 0, *, bounded: bool = True) -> Compared:
    """Means, trace and change of an attack whose reading of a model is the mean of its numbers.

    Each model is judged by its own floor: one that refuses guesses less than one that answers. A gold model's numbers
    are the floor of both: they are of the same questions, and so tell more.
    """
    roles = list(readings)
    points = {role: float(np.mean(readings[role].values)) for role in roles}
    drawn = _drawn({role: readings[role].values for role in roles}, mix(seed, _MODELS), bounded)
    means: dict[str, Interval] = {role: _interval(points[role], drawn[role]) for role in roles}
    floors = {role: reading.floor for role, reading in readings.items() if reading.floor}
    below = _drawn(floors, mix(seed, _FLOOR), bounded)
    if "after" in floors:
        means["floor"] = _interval(float(np.mean(floors["after"])), below["after"])
    unknown = dict.fromkeys(roles, drawn["gold"]) if "gold" in readings else below
    at = {role: points["gold"] if "gold" in readings else float(np.mean(floors.get(role, 0.0))) for role in roles}
    above = {role: (points[role] - at[role], drawn[role] - unknown.get(role, 0.0)) for role in roles}
    trace = ratio(above["after"], above["before"], known=_KNOWN if bounded else 0.0)
    change = _interval(points["after"] - points["before"], drawn["after"] - drawn["before"])
    other = () if "gold" in readings else readings["after"].other
    return Compared(means, trace, change, likeness=alike(other[0], other[1], seed) if other and all(other) else None)


def alike(forget: Sequence[float], holdout: Sequence[float], seed: int = 0) -> Likeness:
    """How alike two sets are, by numbers in [0, 1] of the answers to other questions of each."""
    left, right = float(np.mean(forget)), float(np.mean(holdout))
    ours, theirs = (draws([one], mix(seed, place))[0] for place, one in ((_MODELS, forget), (_FLOOR, holdout)))
    return Likeness(left, right, _interval(left - right, ours - theirs))


def _drawn(series: Mapping[Role, Sequence[float]], seed: int, bounded: bool) -> dict[Role, Draws]:
    """The draws of each model's numbers, for numbers of the same questions."""
    if not series:
        return {}
    return dict(zip(series, draws(list(series.values()), seed, bounded=bounded), strict=True))


def compare_aucs(readings: Mapping[Role, Reading], seed: int = 0) -> Compared:
    """Means, trace and change of an attack that tells the numbers from their floor, by areas under its curve.

    Guessing gives 0.5, which is the floor where there is no gold model.
    """
    sizes = [len(readings["before"].values), len(readings["before"].floor)]
    ours, theirs = (_weights(size, mix(seed, stream)) for size, stream in zip(sizes, (_MODELS, _FLOOR), strict=True))
    points, drawn = dict[str, float](), dict[str, Draws]()
    for role, reading in readings.items():
        values, floor = np.array(reading.values)[:, None], np.array(reading.floor)[None]
        wins = (values > floor) + 0.5 * (values == floor)
        points[role], drawn[role] = float(wins.mean()), ((ours @ wins) * theirs).sum(axis=1)
    means = {role: _interval(points[role], drawn[role]) for role in readings} | {"floor": Interval(0.5, 0.5, 0.5)}
    at, floors = (points["gold"], drawn["gold"]) if "gold" in readings else (0.5, np.full(DRAWS, 0.5))
    trace = ratio((points["after"] - at, drawn["after"] - floors), (points["before"] - at, drawn["before"] - floors))
    return Compared(means, trace, _interval(points["after"] - points["before"], drawn["after"] - drawn["before"]))


def ratio(left: tuple[float, Draws], right: tuple[float, Draws], *, known: float = 0.0) -> Interval | None:
    """A quotient, each side a number with its draws; None unless the divisor is above ``known`` beyond doubt."""
    (value, drawn), (divisor, divisors) = left, right
    least = float(np.percentile(divisors, _LEVEL[0]))
    if divisor <= known or least <= known:
        return None
    return _interval(value / divisor, drawn / np.maximum(divisors, least))


def _weights(size: int, seed: int) -> Draws:
    """What each question weighs in each draw: ``[DRAWS, questions]``."""
    return draws(np.eye(size).tolist(), seed, bounded=False).T


def _interval(value: float, drawn: Draws) -> Interval:
    low, high = np.percentile(drawn, _LEVEL)
    return Interval(value, min(value, float(low)), max(value, float(high)))
