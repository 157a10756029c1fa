"""GradDiff: ascent on what is forgotten and descent on what is kept, in every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mnemotomy.methods.base import SearchSpace
from mnemotomy.methods.language.gradient import ALPHAS, EPOCHS, GENTLE, LEARNING_RATES, RetainingMethod, StepLoss
from mnemotomy.methods.language.gradient_ascent import ascent
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.registry import register


@register
@dataclass(frozen=True)
class GradDiff(RetainingMethod):
    """``−γ L_NLL(X⁺) + α L_retain(X⁻)``.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    name: ClassVar = "grad-diff"
    title: ClassVar = "GradDiff"
    paper: ClassVar = "Liu et al. 2022, Continual Learning and Private Unlearning"
    search_space: ClassVar = SearchSpace(
        {"learning_rate": LEARNING_RATES, "alpha": ALPHAS, "epochs": EPOCHS},
        small={"learning_rate": GENTLE, "alpha": (1.0, 5.0), "epochs": (5,)},
    )

    def forgetting(self, problem: TextProblem) -> StepLoss:
        return ascent(problem)
