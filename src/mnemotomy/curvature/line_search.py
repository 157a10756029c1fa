"""How far to go along a direction: until a value that rises with the length reaches its level."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

GROWTH = 2.0
"""The factor between lengths until the level is passed."""


class Found(NamedTuple):
    """The length whose value is nearest to the level, and that value."""

    length: float
    value: float


def reach(
    value_at: Callable[[float], float], level: float, first: float, *, tolerance: float, evaluations: int
) -> Found:
    """The length, among those tried, whose value is nearest to ``level``.

    Brackets the level, then halves the bracket on a logarithmic scale. A value that is not finite counts as above the
    level: the model is broken there.

    Args:
        value_at: rises with the length, at least until the level.
        level: to reach.
        first: the first length tried, above 0.
        tolerance: the distance from the level that is near enough.
        evaluations: the most calls of ``value_at``, at least 1.
    """
    below, above, length = 0.0, math.inf, first
    best = Found(first, math.inf)
    for _ in range(evaluations):
        value = value_at(length)
        value = value if math.isfinite(value) else math.inf
        if best.value == math.inf or abs(value - level) < abs(best.value - level):
            best = Found(length, value)
        if abs(value - level) <= tolerance:
            break
        if value < level:
            below = length
        else:
            above = length
        if above == math.inf:
            length *= GROWTH
        else:
            length = math.sqrt(below * above) if below else above / GROWTH
    return best
