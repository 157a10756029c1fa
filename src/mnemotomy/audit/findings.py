"""From readings to a finding and its sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mnemotomy.audit.base import Attack, Case, Finding, Interval, Reading, Role
from mnemotomy.audit.statistics import Compared, compare


def found(
    attack: Attack,
    readings: Mapping[Role, Reading],
    case: Case,
    sentence: str,
    *,
    bounded: bool = True,
    compared: Compared | None = None,
    written: Callable[[float], str] | None = None,
) -> Finding:
    """The finding of an attack, by default one whose reading of a model is the mean of its numbers.

    Args:
        attack: that read.
        readings: by role.
        case: the seed of which is used.
        sentence: with ``{before}``, ``{after}`` and ``{floor}`` (", 3 % where nothing is known" or nothing).
        bounded: whether the numbers are shares.
        compared: the numbers, if they are not means.
        written: how a number is written; by default as a percentage.
    """
    written = written or percent
    compared = compared or compare(readings, case.seed, bounded=bounded)
    means = compared.means
    yardstick = means.get("gold") or means.get("floor")
    where = "in the gold model" if "gold" in means else "where nothing is known"
    text = sentence.format(
        before=written(means["before"].value),
        after=written(means["after"].value),
        floor="" if yardstick is None else f", {written(yardstick.value)} {where}",
    )
    return Finding(
        attack=attack.name,
        title=attack.title,
        part=attack.part,
        paper=attack.paper,
        unit=attack.unit,
        means=means,
        trace=compared.trace,
        sentence=f"{text} {left(compared.trace)}" if attack.part != "damage" else text,
        change=compared.change,
        curves={role: reading.curve for role, reading in readings.items() if reading.curve},
        shown=readings["after"].shown,
    )


def left(trace: Interval | None) -> str:
    """What is left of what a model knew, in words."""
    if trace is None:
        return "By this measure, it did not know them before either."
    return f"Left of what it knew: {percent(trace.value)} ({percent(trace.low)} to {percent(trace.high)})."


def percent(share: float) -> str:
    """A share as a whole percentage; no minus before nothing."""
    return f"{round(100 * share) + 0} %"
