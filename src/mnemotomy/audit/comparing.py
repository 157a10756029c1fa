"""Attacks whose finding follows from their readings, and the choice of the best block, step or strength."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mnemotomy.audit.base import Attack, Case, Finding, Reading, Role
from mnemotomy.audit.findings import found, percent
from mnemotomy.audit.statistics import Compared, compare


@dataclass(frozen=True)
class Measured(Attack):
    """An attack that reads one number per question; each model is held against its own floor.

    Attributes:
        says: what the numbers say, with ``{title}``, ``{before}``, ``{after}`` and ``{floor}``.
        bounded: whether the numbers lie in [0, 1].
        percent: whether to write them as percentages.
    """

    says: ClassVar[str]
    bounded: ClassVar[bool] = True
    percent: ClassVar[bool] = True

    def compared(self, readings: Mapping[Role, Reading], seed: int) -> Compared:
        """Means, trace and change."""
        return compare(readings, seed, bounded=self.bounded)

    def find(self, readings: Mapping[Role, Reading], case: Case) -> Finding:
        """The means, what is left of what the model knew, and a sentence about both."""
        compared = self.compared(readings, case.seed)
        says = self.says.replace("{title}", self.title)
        return found(self, readings, case, says, compared=compared, written=self.written)

    def written(self, value: float) -> str:
        """A number in words."""
        return percent(value) if self.percent else f"{value:.2f}"


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
