"""Engram automatic: the projector, with its threshold and strength chosen on the training examples alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.filters import Hard
from mnemotomy.errors import ConfigurationError
from mnemotomy.methods.base import Method
from mnemotomy.methods.classifier import accuracy
from mnemotomy.methods.erasure import FORGET, PAPER, atlas_of, check_rounds, erase_in_rounds
from mnemotomy.methods.problem import Examples, Problem


@dataclass(frozen=True)
class Choice:
    """A threshold with the strength chosen for it, and the accuracies that both leave on the examples read.

    Attributes:
        threshold: τ on μ.
        strength: α.
        forget: accuracy on training examples to forget, in [0, 1].
        retain: accuracy on training examples to keep, in [0, 1].
        erased: whether ``forget`` is low enough.
    """

    threshold: float
    strength: float
    forget: float
    retain: float
    erased: bool

    @property
    def rank(self) -> tuple[bool, float]:
        """The larger, the better: erased, then what is kept; where nothing is erased, both count."""
        return self.erased, self.retain if self.erased else (1.0 - self.forget) * self.retain


@dataclass(frozen=True)
class EngramAutomatic(Method):
    """``EngramProjector`` with τ and α chosen without any test example and without a retrained model.

    The rule: for each τ, α is the smallest of ``strengths`` that leaves at most ``erased_at_most`` of the training
    examples to forget recognised (the one that leaves fewest, if none does). Of the τ that erase, the one is taken that
    keeps the highest accuracy on the retained training examples; the highest τ, which edits least, among equals.
    A model that never saw the class recognises none of it: ``erased_at_most`` is what that means on training examples.

    At most ``read`` examples of each set are read. A τ is given as a part of the way from ``n⁺/N`` (in examples), the μ
    of a direction that the forget set shares with everything, to 1, the μ of one that is the forget set's own.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    excesses: Sequence[float] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7)
    strengths: Sequence[float] = tuple(tenths / 10 for tenths in range(3, 21))
    erased_at_most: float = 0.02
    read: int = 2000
    rounds: int = 1
    batch_size: int = 128

    name: ClassVar = "engram-automatic"
    title: ClassVar = "Engram (automatic)"
    paper: ClassVar = f"ours, on {PAPER}"

    def __post_init__(self) -> None:
        check_rounds(self.rounds, self.batch_size)
        if not self.excesses or not all(0.0 <= excess < 1.0 for excess in self.excesses):
            raise ConfigurationError(f"excesses over n⁺/N lie in [0, 1), not {list(self.excesses)}")
        if not self.strengths or not all(strength > 0.0 for strength in self.strengths):
            raise ConfigurationError(f"strengths are above 0, not {list(self.strengths)}")
        if self.read < 1 or not 0.0 <= self.erased_at_most <= 1.0:
            raise ConfigurationError(
                f"read at least one example and erase down to a share in [0, 1], not {self.read} and "
                f"{self.erased_at_most}"
            )

    def __call__(self, problem: Problem) -> nn.Module:
        def edit(model: nn.Module, atlas: Atlas) -> Edit:
            return self._choose(problem, model, atlas)[1]

        return erase_in_rounds(problem, edit, self.rounds, self.batch_size)

    def choose(self, problem: Problem) -> Choice:
        """The threshold and strength of the first round, and what they leave of the training examples."""
        return self._choose(problem, problem.model, atlas_of(problem.model, problem, self.batch_size))[0]

    def _choose(self, problem: Problem, model: nn.Module, atlas: Atlas) -> tuple[Choice, Edit]:
        forget, retain = (_some(examples, self.read, problem.seed) for examples in (problem.forget, problem.retain))
        share = len(problem.forget) / (len(problem.forget) + len(problem.retain))
        best: tuple[Choice, Edit] | None = None
        for excess in sorted(self.excesses, reverse=True):
            threshold = share + excess * (1.0 - share)
            engram = atlas.engram(FORGET, Hard(threshold)).materialize()
            strength, left = self._strength(model, engram, forget)
            with (-strength * engram).on(model, check=False):
                kept = accuracy(model, retain)
            choice = Choice(threshold, strength, left, kept, left <= self.erased_at_most)
            if best is None or choice.rank > best[0].rank:
                best = choice, -strength * engram
        assert best is not None  # there is at least one excess
        return best

    def _strength(self, model: nn.Module, engram: Edit, forget: Examples) -> tuple[float, float]:
        """The smallest strength that erases, or the one that leaves least, and the accuracy that it leaves."""
        found: list[tuple[float, float]] = []
        for strength in sorted(self.strengths):
            with (-strength * engram).on(model, check=False):
                found.append((accuracy(model, forget), strength))
            if found[-1][0] <= self.erased_at_most:
                return strength, found[-1][0]
        left, strength = min(found)
        return strength, left


def _some(examples: Examples, count: int, seed: int) -> Examples:
    """At most ``count`` of them, drawn at random."""
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))
    return examples[order[:count].to(examples.labels.device)]
