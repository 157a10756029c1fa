"""An attack: what it declares, how its readings become a finding, and the registry of all attacks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, dataclass_transform

from torch import nn

from mnemotomy.audit.base import PARTS, Finding, Interval, Part, Reading, Role, Use
from mnemotomy.audit.samples import side_by_side
from mnemotomy.audit.statistics import Compared, compare
from mnemotomy.audit.verdict import LEFT
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.packages import declared, import_modules
from mnemotomy.methods.base import Models


@dataclass(frozen=True)
class Attack(ABC):
    """One attack, decorated with ``register``: a frozen dataclass whose fields are its strength.

    It reads one number per question; each model is compared with its own floor.

    Attributes:
        models: the kind that it attacks; it gets a case of that kind.
        name: in the registry, on the command line and in reports.
        title: in a table.
        part: of the audit.
        paper: where the attack comes from.
        unit: of its numbers, such as ``share of answers said``.
        says: what the numbers say, with ``{title}`` and ``{after}``, and ``{at}`` for a number of samples.
        ends: how the sentence ends, with ``{before}`` and ``{floor}`` (", 3 % where nothing is known" or nothing).
        default: whether the default set has it.
        bounded: whether the numbers lie in [0, 1].
        percent: whether to write them as percentages.
        cost: how long it takes, about, as a multiple of the usual attack; for the time left.
        holdout: what it does with one; its readings are kept by what it reads.
        counted: what the report calls a written text that counts in full, and one that does not count.
    """

    models: ClassVar[Models] = "language models"
    name: ClassVar[str]
    title: ClassVar[str]
    part: ClassVar[Part]
    paper: ClassVar[str]
    unit: ClassVar[str]
    says: ClassVar[str]
    ends: ClassVar[str] = " ({before} before{floor})."
    default: ClassVar[bool] = True
    bounded: ClassVar[bool] = True
    percent: ClassVar[bool] = True
    cost: ClassVar[int] = 1
    holdout: ClassVar[Use] = "read"
    counted: ClassVar[tuple[str, str]] = ("known", "not known")

    @property
    def in_words(self) -> str:
        """The title, with the name for ``--only``."""
        return f"{self.title} ({self.name})"

    def lacks(self, case: Any) -> str | None:
        """What the case lacks for this attack, in words for the report; None if it can run."""
        return None

    @abstractmethod
    def read(self, model: nn.Module, case: Any) -> Reading:
        """Attack one model, which is left as it was."""

    def compared(self, readings: Mapping[Role, Reading], seed: int) -> Compared:
        """Means, trace and change."""
        return compare(readings, seed, bounded=self.bounded)

    def find(self, readings: Mapping[Role, Reading], case: Any) -> Finding:
        """Compare the models' readings; ``before`` and ``after`` are always there, ``gold`` may be."""
        compared = self.compared(readings, case.seed)
        means, trace = compared.means, compared.trace
        yardstick = means.get("gold") or means.get("floor")
        where = "in the gold model" if "gold" in means else "where nothing is known"
        text = (self.says + self.ends).format(
            title=self.title,
            at=compared.at,
            before=self.written(means["before"].value),
            after=self.written(means["after"].value),
            floor="" if yardstick is None else f", {self.written(yardstick.value)} {where}",
        )
        return Finding(
            attack=self.name,
            title=self.title,
            part=self.part,
            paper=self.paper,
            unit=self.unit,
            means=means,
            trace=trace,
            sentence=f"{text} {left(trace)}" if self.part != "damage" else text,
            change=compared.change,
            curves={role: reading.curve for role, reading in readings.items() if reading.curve},
            shown=side_by_side(readings, self.counted, fell=self.part == "damage") or readings["after"].shown,
            questions=len(readings["before"].values),
            likeness=compared.likeness,
        )

    def written(self, value: float) -> str:
        """A number in words."""
        return percent(value) if self.percent else f"{value:.2f}"


A = TypeVar("A", bound=type[Attack])
_found: dict[str, type[Attack]] = {}


@dataclass_transform(frozen_default=True)
def register(name: str, title: str, paper: str, **traits: Any) -> Callable[[A], A]:
    """Make a class an attack of that name: a frozen dataclass with these traits (``says``, ``unit``, ...).

    Raises:
        ConfigurationError: another attack has that name.
    """

    def enter(kind: A) -> A:
        known = _found.setdefault(name, kind)
        if known is not kind:
            raise ConfigurationError(f"the name {name!r} is taken by {known.__qualname__}; choose another")
        return declared(kind, name=name, title=title, paper=paper, **traits)

    return enter


def attacks(models: Models = "language models") -> dict[str, type[Attack]]:
    """The attacks on a kind of model, in the order of ``PARTS``, of the modules of this package, and as defined."""
    import_modules("mnemotomy.audit")
    found = {name: kind for name, kind in _found.items() if kind.models == models}
    return dict(sorted(found.items(), key=lambda one: (PARTS.index(one[1].part), one[1].__module__)))


def best(
    rows: Mapping[str, tuple[float, ...]], floors: Mapping[str, tuple[float, ...]], *, apart: bool = False
) -> Reading:
    """The row whose mean is furthest above its floor's, as an attacker would choose; the curve has all means.

    The highest of several rows is above its floor by chance. So each half of the questions is read at the row that is
    best on the other half.

    Args:
        rows: numbers by block, step or strength.
        floors: where nothing is known, by the same names; may be empty.
        apart: take the highest row of all questions, and the floor's highest row against it.
    """
    curve, floor = ({name: sum(row) / len(row) for name, row in some.items() if row} for some in (rows, floors))
    if apart and floor:
        highest = max(floor, key=lambda one: floor[one])
        return Reading(rows[max(curve, key=lambda one: curve[one])], curve, floors[highest])
    halves = []
    for half in range(2):
        other = {name: row[1 - half :: 2] or row for name, row in rows.items() if row}
        halves.append(max(other, key=lambda one: sum(other[one]) / len(other[one]) - floor.get(one, 0.0)))
    values, unknown = (
        tuple(some[halves[place % 2]][place] for place in range(len(some.get(halves[0], ()))))
        for some in (rows, floors)
    )
    return Reading(values, curve, unknown)


def left(trace: Interval | None) -> str:
    """What is left of what a model knew, in words."""
    if trace is None:
        return "By this attack, the model did not clearly know them before either, so it shows nothing."
    if trace.high < -LEFT:
        return (
            f"That is below what is not known, by {percent(-trace.value)} of what it knew ({percent(-trace.high)} to "
            f"{percent(-trace.low)}): not left, but this shows that something was removed, though not what."
        )
    return f"Left of what it knew: {percent(trace.value)} ({percent(trace.low)} to {percent(trace.high)})."


def percent(share: float) -> str:
    """A share as a whole percentage; no minus before nothing."""
    return f"{round(100 * share) + 0} %"
