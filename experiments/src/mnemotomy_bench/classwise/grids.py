"""The rows of the table: every method with the configurations that its grid search tries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mnemotomy.methods.classifiers.engram import EngramMethod
from mnemotomy.methods.classifiers.engram_automatic import ClassifierEngramAutomatic
from mnemotomy.methods.classifiers.problem import ClassifierMethod
from mnemotomy.methods.registry import methods

ORIGINAL, RETRAIN = "original", "retrain"
TWICE = ("engram", "engram-automatic")
"""Methods with a second row, where they collect and erase twice."""


@dataclass(frozen=True)
class Row:
    """One row of the table: a method, and the configurations among which Tug-of-War chooses."""

    name: str
    title: str
    methods: tuple[ClassifierMethod, ...]

    @property
    def selection(self) -> str:
        """What the configuration was chosen on, as stated in records."""
        if len(self.methods) > 1:
            return "grid search by Tug-of-War on the first seed; it sees test accuracy and the retrained model"
        chooses = isinstance(self.methods[0], ClassifierEngramAutomatic)
        return "training examples alone; no test example, no retrained model" if chooses else "none"


@dataclass(frozen=True)
class Grid:
    """What is searched: each method's own search space (Table 5), unless a case overrides it.

    Attributes:
        rates: of every gradient method; None for its own.
        epochs: of every gradient method; None for its own.
        values: by method, other values for some fields.
        automatic: that method's only configuration.
        batch_norm: whether the network normalises batches, so that recalibrating makes a difference, and a row.
        collected: how many of the examples given engrams are collected from; None for all.
        fields_read: how many receptive fields of each a convolution collects; None for all.
    """

    rates: Sequence[float] | None = None
    epochs: int | None = None
    values: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    automatic: ClassifierEngramAutomatic = field(default_factory=ClassifierEngramAutomatic)
    batch_norm: bool = True
    collected: int | None = None
    fields_read: int | None = None

    def rows(self) -> dict[str, Row]:
        """Every method of the table by name, in the registry's order, without baselines."""
        found: dict[str, Row] = {}
        for name, kind in methods("classifiers").items():
            if kind.family == "baseline" or (name == "engram-recalibrated" and not self.batch_norm):
                continue
            configurations = tuple(map(self._collecting, self._configurations(kind)))
            found[name] = Row(name, kind.title, configurations)
            if name in TWICE:
                again = tuple(replace(one, rounds=2) for one in configurations if isinstance(one, EngramMethod))
                found[f"{name}-twice"] = Row(f"{name}-twice", f"{kind.title}, twice", again)
        return found

    def _configurations(self, kind: type[ClassifierMethod]) -> Sequence[ClassifierMethod]:
        if kind is ClassifierEngramAutomatic:
            return [self.automatic]
        values: dict[str, Sequence[Any]] = {}
        if kind.family == "gradient":
            values |= {} if self.rates is None else {"learning_rate": self.rates}
            values |= {} if self.epochs is None else {"epochs": (self.epochs,)}
        return list(kind.grid(values={**values, **self.values.get(kind.name, {})}))

    def _collecting(self, method: ClassifierMethod) -> ClassifierMethod:
        return (
            replace(method, collected=self.collected, rows=self.fields_read)
            if isinstance(method, EngramMethod)
            else method
        )
