"""Attacks whose finding follows from their readings, and the choice of the best block, step or strength."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mnemotomy.audit.base import Attack, Case, Finding, Interval, Reading, Role
from mnemotomy.audit.statistics import Compared, compare


@dataclass(frozen=True)
class Measured(Attack):
    """An attack that reads one number per question.

    Attributes:
        says: what the numbers say, with ``{after}``, ``{before}`` and ``{floor}``.
        bounded: whether the numbers lie in [0, 1].
    """

    says: ClassVar[str]
    bounded: ClassVar[bool] = True

    def compared(self, readings: Mapping[Role, Reading], seed: int) -> Compared:
        """Means, trace and change."""
        return compare(readings, seed, bounded=self.bounded)

    def find(self, readings: Mapping[Role, Reading], case: Case) -> Finding:
        """The means, what is left of what the model knew, and a sentence about both."""
        found = self.compared(readings, case.seed)
        return Finding(
            self.name,
            self.title,
            self.part,
            self.paper,
            self.unit,
            found.means,
            found.trace,
            _sentence(self.says, found.means, found.trace),
            change=found.change,
            curves={role: reading.curve for role, reading in readings.items()},
            shown=readings["after"].shown,
        )


def _sentence(says: str, means: Mapping[str, Interval], trace: Interval | None) -> str:
    said = says.format(**{"floor": "0.00"} | {name: f"{one.value:.2f}" for name, one in means.items()})
    if trace is None:
        return f"{said}. The model did not show it before either."
    share, low, high = (f"{max(0.0, 100 * value):.0f}" for value in trace)
    return f"{said}. {share} % of the knowledge is left by this measure (95 % interval: {low} to {high} %)."


def best(
    rows: Mapping[str, tuple[float, ...]], floors: Mapping[str, tuple[float, ...]], *, apart: bool = False
) -> Reading:
    """The row whose mean is furthest above its floor's, as an attacker would choose; the curve has all means.

    Args:
        rows: numbers by block, step or strength.
        floors: where nothing is known, by the same names; may be empty.
        apart: whether the floor, too, is its highest row. Without that, the highest of many rows is above its floor by
            chance.
    """
    curve, floor = ({name: sum(row) / len(row) for name, row in some.items() if row} for some in (rows, floors))
    if apart and floor:
        highest = max(floor, key=lambda one: floor[one])
        return Reading(rows[max(curve, key=lambda one: curve[one])], curve, floors[highest])
    name = max(curve, key=lambda one: curve[one] - floor.get(one, 0.0))
    return Reading(rows[name], curve, floors.get(name, ()))
