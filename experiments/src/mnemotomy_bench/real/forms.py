"""Every one-sided form, each with the settings among which validation chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mnemotomy.engram.filters import FILTER, Excess, Filter, Power
from mnemotomy.forget.candidates import Blocks, Candidate, Form, Kinds


@dataclass(frozen=True)
class Other(Candidate):
    """A candidate with a filter that ``forget`` does not try."""

    other: Filter = field(default_factory=Power)

    def __str__(self) -> str:
        return f"{FILTER.describe(self.other)}, {super().__str__()}"

    def filter(self) -> Filter:
        return self.other

    def recipe(self) -> dict[str, Any]:
        return super().recipe() | {"other": FILTER.describe(self.other)}


def _some(
    form: Form,
    *,
    thresholds: Sequence[float] = (0.0,),
    strengths: Sequence[float] = (1.0,),
    outputs: bool = False,
    kinds: Kinds = "all",
    blocks: Blocks = "all",
) -> tuple[Candidate, ...]:
    return tuple(Candidate(form, one, outputs, alpha, kinds, blocks) for one in thresholds for alpha in strengths)


def _other(filter: Filter) -> tuple[Candidate, ...]:
    return (Other("paper", 0.0, outputs=False, blocks="all", other=filter),)


FORMS: Mapping[str, tuple[Candidate, ...]] = {
    "attention, upper third: paper's μ, outputs": _some(
        "paper", strengths=(1.0, 1.5, 2.0), outputs=True, kinds="attention", blocks="upper third"
    ),
    "attention, upper third: paper's μ": _some("paper", kinds="attention", blocks="upper third"),
    "attention, upper third: projector, outputs": _some(
        "projector", thresholds=(0.3,), outputs=True, kinds="attention", blocks="upper third"
    ),
    "attention: paper's μ, outputs": _some("paper", strengths=(1.5,), outputs=True, kinds="attention"),
    "paper's μ": _some("paper"),
    "paper's μ by weight norm": _some("weight-norm"),
    "projector": _some("projector", thresholds=(0.5,)),
    "paper's μ, outputs": _some("paper", outputs=True),
    "projector, outputs": _some("projector", thresholds=(0.5,), outputs=True),
    "projector, outputs, upper third": _some("projector", thresholds=(0.5,), outputs=True, blocks="upper third"),
    "MLPs, upper third: paper's μ, outputs": _some("paper", outputs=True, kinds="mlp", blocks="upper third"),
    "steep": _some("steep", thresholds=(3.0,)),
    "μ²": _other(Power()),
    "excess of μ over n⁺/N": _other(Excess()),
}
"""The rows of the tables; where nothing is said of places, all projections of all blocks."""

ATTENTION = {name: some for name, some in FORMS.items() if name.startswith("attention")}
"""What needs no moments of the wide inputs, for larger models."""

STRONGER = {
    "attention, upper third: paper's μ, outputs, α = 3": _some(
        "paper", strengths=(3.0,), outputs=True, kinds="attention", blocks="upper third"
    )
}
"""For a single fact: its share of the rows is small, and μ with it."""
