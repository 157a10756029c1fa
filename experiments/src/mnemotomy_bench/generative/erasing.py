"""A digit's engram erased from an autoencoder: at which layers, with which filter, how strongly."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from mnemotomy.engram.deltas import Deltas, Term
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.filters import Hard, Soft
from mnemotomy_bench.generative.autoencoder import Subject
from mnemotomy_bench.generative.cases import Case
from mnemotomy_bench.generative.choosing import Outcome, Trial
from mnemotomy_bench.generative.observing import mean_error

PARTS: dict[str, Callable[[str, nn.Module], bool]] = {
    "all": lambda name, module: True,
    "encoder": lambda name, module: name.startswith("encoder."),
    "decoder": lambda name, module: name.startswith("decoder."),
    "code": lambda name, module: isinstance(module, nn.Linear),
}
"""The sites to edit: all, one half, or the two linear layers that write and read the code."""

STRENGTHS = (0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0)
EXCESSES = (0.2, 0.5)


@dataclass(frozen=True)
class Erasure:
    """``W − α W⁺`` at the sites of one part; several parts, filters and strengths are tried on training images.

    For each part and filter, α is the smallest that erases, that is, raises the digit's error to that of the other
    digits' mean image. The candidate that erases with the lowest error on the others is chosen; if none erases, the
    one with the highest error on the digit. No test image or retrained model is read.

    Attributes:
        name: in records.
        title: in tables.
        parts: keys of ``PARTS``.
        excesses: None is the paper's μ; a number the projector on ``μ > τ``, with τ as a part of the way from
            ``n⁺/N`` (in images) to 1.
        strengths: α.
    """

    name: str
    title: str
    parts: tuple[str, ...] = ("all",)
    excesses: tuple[float | None, ...] = (None,)
    strengths: tuple[float, ...] = (1.0,)

    def config(self, case: Case) -> dict[str, Any]:
        """The settings that are tried."""
        return {"parts": list(self.parts), "excesses": list(self.excesses), "strengths": list(self.strengths)}

    def digits(self, case: Case, classes: int) -> tuple[int, ...]:
        """The digits to erase: all, because it is cheap."""
        return tuple(range(classes))

    def __call__(self, subject: Subject, digit: int) -> Outcome:
        """The digit erased from a copy of the original."""
        engrams = [dense_engram(subject, digit, excess) for excess in self.excesses]
        start = time.perf_counter()
        tried = [
            self._strongest_needed(subject, engram, part) for part, engram in itertools.product(self.parts, engrams)
        ]
        choice, edit = max(tried, key=lambda one: one[0].rank)
        edited = edit.apply(subject.original, check=False)
        return Outcome(edited, choice.config, time.perf_counter() - start + sum(one.seconds for one in engrams))

    def _strongest_needed(self, subject: Subject, engram: DenseEngram, part: str) -> tuple[Trial, Edit]:
        """The smallest strength that erases, or the one that leaves the digit the highest error."""
        digit, sites = engram.digit, engram.sites(part)
        found: list[tuple[float, float]] = []
        target = float(subject.erased_at[digit])
        if len(self.strengths) > 1:
            for strength in sorted(self.strengths):
                with engram.erased(sites, strength).on(subject.original, check=False):
                    found.append((mean_error(subject.original, subject.read_own(digit)), strength))
                if found[-1][0] >= target:
                    break
        own, strength = max(found, default=(0.0, self.strengths[0]))
        edit = engram.erased(sites, strength)
        others = 0.0
        if len(self.parts) * len(self.excesses) > 1:
            with edit.on(subject.original, check=False):
                others = mean_error(subject.original, subject.read_others(digit))
        config = {"part": part, "threshold": engram.threshold, "strength": strength}
        return Trial(own, others, own >= target, config), edit


@dataclass(frozen=True)
class DenseEngram:
    """A digit's engram at every site as tensors, from which any part is erased at any strength.

    Attributes:
        digit: the erased digit.
        threshold: τ of the projector; None for the paper's μ.
        deltas: by site.
        modules: by site.
        seconds: of wall time.
    """

    digit: int
    threshold: float | None
    deltas: Deltas
    modules: dict[str, nn.Module]
    seconds: float

    def sites(self, part: str) -> list[str]:
        """The sites of a part."""
        return [name for name, module in self.modules.items() if PARTS[part](name, module)]

    def erased(self, sites: list[str], strength: float) -> Edit:
        """The edit that erases the engram from these sites."""
        return Edit((Term(dict.fromkeys(sites, -strength), self.deltas),))


def dense_engram(subject: Subject, digit: int, excess: float | None) -> DenseEngram:
    """A digit's engram; kept with the subject, because several erasures share it."""
    key = ("engram", digit, excess)
    if key not in subject.kept:
        atlas, threshold = subject.atlas, None
        if excess is not None:
            share = len(subject.own(digit)) / len(subject.train)
            threshold = share + excess * (1.0 - share)
        start = time.perf_counter()
        engram = atlas.engram(digit, Soft() if threshold is None else Hard(threshold)).materialize()
        seconds = time.perf_counter() - start
        modules = {name: site.module for name, site in atlas.sites.items()}
        subject.kept[key] = DenseEngram(digit, threshold, engram.terms[0].deltas, modules, seconds)
    found = subject.kept[key]
    assert isinstance(found, DenseEngram)
    return found


ERASURES: dict[str, Erasure] = {
    one.name: one
    for one in (
        Erasure("engram", "Engram (α = 1)"),
        Erasure("engram-encoder", "Engram (α = 1), encoder", parts=("encoder",)),
        Erasure("engram-decoder", "Engram (α = 1), decoder", parts=("decoder",)),
        Erasure("engram-code", "Engram (α = 1), code", parts=("code",)),
        Erasure("engram-chosen", "Engram (α chosen)", strengths=STRENGTHS),
        Erasure("engram-projector", "Engram (projector)", excesses=EXCESSES, strengths=STRENGTHS),
        Erasure(
            "engram-automatic", "Engram (automatic)",
            parts=tuple(PARTS), excesses=(None, *EXCESSES), strengths=STRENGTHS,
        ),
    )
}  # fmt: skip
"""The paper's estimator at every layer and in parts of the network; ours chooses filter, part and strength."""
