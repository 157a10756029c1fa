"""The rows of the table: every method with the configurations that its grid search tries."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mnemotomy.methods.classifiers.base import Method
from mnemotomy.methods.classifiers.engram import STRENGTHS, EngramGrid, EngramPaper
from mnemotomy.methods.classifiers.engram_automatic import EngramAutomatic
from mnemotomy.methods.classifiers.engram_base import EngramMethod
from mnemotomy.methods.classifiers.engram_outputs import EngramOutputs
from mnemotomy.methods.classifiers.engram_projector import EngramProjector
from mnemotomy.methods.classifiers.engram_recalibrated import EngramRecalibrated
from mnemotomy.methods.classifiers.fine_tune import FineTune
from mnemotomy.methods.classifiers.gradient import LEARNING_RATES
from mnemotomy.methods.classifiers.l1_sparse import L1Sparse
from mnemotomy.methods.classifiers.neggrad import NegGrad
from mnemotomy.methods.classifiers.neggrad_plus import NegGradPlus
from mnemotomy.methods.classifiers.random_label import RandomLabel
from mnemotomy.methods.classifiers.salun import SalUn
from mnemotomy.methods.classifiers.two_sided import TwoSided

ORIGINAL, RETRAIN = "original", "retrain"


@dataclass(frozen=True)
class Row:
    """One row of the table: a method, and the configurations among which Tug-of-War chooses."""

    name: str
    title: str
    methods: tuple[Method, ...]

    @property
    def selection(self) -> str:
        """What the configuration was chosen on, as records state it."""
        if len(self.methods) > 1:
            return "grid search by Tug-of-War on the first seed; it sees test accuracy and the retrained model"
        chooses = isinstance(self.methods[0], EngramAutomatic)
        return "training examples alone; no test example, no retrained model" if chooses else "none"


@dataclass(frozen=True)
class Grid:
    """What is searched; the defaults are Table 5's.

    Attributes:
        forgetting_rates: NegGrad's, which the rest would ruin.
        recalibrated_strengths: α before the head with batch normalisation recalibrated; None for ``strengths``.
        batch_norm: whether the network normalises batches, so that recalibrating makes a difference, and a row.
        collected: engrams are collected from so many of the examples given; None for all.
        fields_read: of so many receptive fields of each at a convolution; None for all.
    """

    rates: Sequence[float] = LEARNING_RATES
    epochs: int = 10
    plus_epochs: Sequence[int] = (5, 10)
    gammas: Sequence[float] = (1e-6, 1e-5, 1e-4)
    strengths: Sequence[float] = STRENGTHS
    thresholds: Sequence[float] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    projector_strengths: Sequence[float] = (0.6, 0.8, 1.0, 1.2, 1.4)
    forgetting_rates: Sequence[float] | None = None
    recalibrated_strengths: Sequence[float] | None = None
    automatic: EngramAutomatic = field(default_factory=EngramAutomatic)
    batch_norm: bool = True
    collected: int | None = None
    fields_read: int | None = None

    def rows(self) -> dict[str, Row]:
        """Every method of the table by name, in the paper's order, ours last."""
        rates, epochs = self.rates, self.epochs
        found = (
            _row(FineTune, [FineTune(rate, epochs) for rate in rates]),
            _row(NegGrad, [NegGrad(rate, epochs) for rate in self.forgetting_rates or rates]),
            _row(NegGradPlus, [NegGradPlus(r, e) for r, e in itertools.product(rates, self.plus_epochs)]),
            _row(L1Sparse, [L1Sparse(r, epochs, gamma=g) for r, g in itertools.product(rates, self.gammas)]),
            _row(RandomLabel, [RandomLabel(rate, epochs) for rate in rates]),
            _row(SalUn, [SalUn(rate, epochs) for rate in rates]),
            _row(EngramPaper, [EngramPaper()]),
            _row(EngramGrid, [EngramGrid(strength=strength) for strength in self.strengths]),
            _row(EngramPaper, [EngramPaper(rounds=2)], "-twice", ", twice"),
            *self._recalibrated(),
            _row(EngramOutputs, list(EngramOutputs.grid())),
            _row(EngramProjector, [
                EngramProjector(threshold, strength)
                for threshold, strength in itertools.product(self.thresholds, self.projector_strengths)
            ]),
            _row(EngramAutomatic, [self.automatic]),
            _row(EngramAutomatic, [replace(self.automatic, rounds=2)], "-twice", ", twice"),
            _row(TwoSided, list(TwoSided.grid())),
        )  # fmt: skip
        return {row.name: replace(row, methods=tuple(map(self._collecting, row.methods))) for row in found}

    def _collecting(self, method: Method) -> Method:
        return (
            replace(method, collected=self.collected, rows=self.fields_read)
            if isinstance(method, EngramMethod)
            else method
        )

    def _recalibrated(self) -> tuple[Row, ...]:
        strengths = self.recalibrated_strengths or self.strengths
        methods = [method for method in EngramRecalibrated.grid() if method.strength in strengths]
        return (_row(EngramRecalibrated, methods),) if self.batch_norm else ()


def _row(kind: type[Method], methods: Sequence[Method], suffix: str = "", note: str = "") -> Row:
    return Row(kind.name + suffix, kind.title + note, tuple(methods))
