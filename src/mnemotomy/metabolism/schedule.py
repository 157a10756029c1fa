"""How the strength α of the adversary grows with training (Algorithm 1, step 2)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass


class Schedule(ABC):
    """A function from progress in [0, 1] to strength."""

    @abstractmethod
    def __call__(self, progress: float) -> float:
        """The strength at ``progress``."""


@dataclass(frozen=True)
class Sigmoid(Schedule):
    """``α = 2 / (1 + exp(−steepness · p)) − 1``: 0 at the start, near 1 from the middle on. The paper's, with 10."""

    steepness: float = 10.0

    def __call__(self, progress: float) -> float:
        return 2.0 / (1.0 + math.exp(-self.steepness * progress)) - 1.0


@dataclass(frozen=True)
class Constant(Schedule):
    """The same strength from the first step on: the ablation without a schedule."""

    strength: float = 1.0

    def __call__(self, progress: float) -> float:
        return self.strength
