"""What the gradient methods have in common: the optimiser's settings and the learning rates that are searched."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mnemotomy.methods.base import Family, SearchSpace
from mnemotomy.methods.classifiers.loop import Descent
from mnemotomy.methods.classifiers.problem import ClassifierMethod, Problem

LEARNING_RATES = (0.1, 0.01, 0.001, 5e-4, 3e-4, 1e-4, 5e-5)
"""Table 5 of arXiv 2606.14997, the same for every gradient method."""


@dataclass(frozen=True)
class GradientMethod(Descent, ClassifierMethod):
    """A method that trains a copy of the model further with ``loop.descend``."""

    family: ClassVar[Family] = "gradient"
    cost: ClassVar = "epochs, forwards and backwards"
    search_space: ClassVar = SearchSpace({"learning_rate": LEARNING_RATES})

    def copy_of(self, problem: Problem) -> nn.Module:
        """The model that is trained in place of the problem's own."""
        return copy.deepcopy(problem.model)
