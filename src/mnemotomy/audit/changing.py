"""Attacks that change a copy of a model and then ask it: the frame, and the small changes of the weights."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import nn

from mnemotomy.audit.attack import Attack, best
from mnemotomy.audit.base import Part, Reading
from mnemotomy.audit.weights import pruned, quantised, with_noise
from mnemotomy.core.errors import NonFiniteError, TrainingError
from mnemotomy.core.seeds import mix

Row = tuple[float, ...]
Note = Callable[[str, nn.Module], None]

EIGHT = "Lynch et al. 2024, Eight Methods to Evaluate Robust Unlearning, arXiv 2402.16835"
BENIGN = "Hu et al. 2024, arXiv 2406.13356"
QUANTISED = "Zhang et al. 2025, Failure of LLM Unlearning via Quantization, arXiv 2410.16454"
PRUNED = "Jia et al. 2023, Model Sparsity Can Simplify Machine Unlearning, arXiv 2304.04934"
NOISE = "Tice et al. 2024, Noise Injection Reveals Hidden Capabilities, arXiv 2412.01784"

_UNCHANGED = "unchanged"  # the curve begins there, but it is no result of the attack


class Changing(Attack):
    """An attack that changes a copy of the model, and then asks for what was forgotten and for what nobody knows."""

    part: ClassVar[Part] = "relearn"
    cost: ClassVar[int] = 2

    @abstractmethod
    def sets(self, case: Any) -> tuple[Any, Sequence[Any]]:
        """What was forgotten, and sets of which nothing is known; the floor is the mean over these."""

    @abstractmethod
    def numbers(self, model: nn.Module, case: Any, sets: Sequence[Any]) -> list[Row]:
        """For each set, one number for each of its questions or images."""

    @abstractmethod
    def change(self, model: nn.Module, case: Any, note: Note) -> None:
        """Call ``note`` with each strength's name and the changed model; several of one name are averaged."""

    def read(self, model: nn.Module, case: Any) -> Reading:
        """The numbers at the best strength; the curve has every strength. A change that breaks the model ends it."""
        forgotten, others = self.sets(case)
        found, floors = dict[str, list[Row]](), dict[str, list[Row]]()

        def note(name: str, changed: nn.Module) -> None:
            own, *unknown = self.numbers(changed, case, [forgotten, *others])
            found.setdefault(name, []).append(own)
            floors.setdefault(name, []).extend(unknown)

        before, *nothing = self.numbers(model, case, [forgotten, *others])
        with contextlib.suppress(TrainingError, NonFiniteError):
            self.change(model, case, note)
        curve = {_UNCHANGED: sum(before) / len(before)}
        if not found:
            return Reading(before, curve, mean_rows(nothing))
        rows, unknowns = ({name: mean_rows(some) for name, some in each.items()} for each in (found, floors))
        reading = best(rows, unknowns)
        return replace(reading, curve={**curve, **reading.curve})


@dataclass(frozen=True)
class Quantising(Changing):
    """Rounds the weights.

    Attributes:
        bits: each of them.
    """

    bits: tuple[int, ...] = (8, 4)

    def change(self, model: nn.Module, case: Any, note: Note) -> None:
        for bits in self.bits:
            note(f"{bits} bits", quantised(model, bits))


@dataclass(frozen=True)
class Pruning(Changing):
    """Removes the smallest weights of each matrix.

    Attributes:
        shares: of the weights.
    """

    shares: tuple[float, ...] = (0.1, 0.3)

    def change(self, model: nn.Module, case: Any, note: Note) -> None:
        for share in self.shares:
            note(f"{100 * share:g} %", pruned(model, share))


@dataclass(frozen=True)
class Noising(Changing):
    """Adds noise to the weights.

    Attributes:
        scales: of the noise, as a share of the root mean square of each matrix.
        draws: over which each number is averaged.
    """

    scales: tuple[float, ...] = (0.05, 0.1)
    draws: int = 2

    def change(self, model: nn.Module, case: Any, note: Note) -> None:
        for number, scale in enumerate(self.scales):
            for draw in range(self.draws):
                note(f"{scale:g}", with_noise(model, scale, mix(case.seed, number, draw)))


def mean_rows(rows: Sequence[Row]) -> Row:
    """The mean of each column."""
    return tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))
