"""GradAscent and GradDiff: gradient ascent on the answers to forget, alone or with descent on the retain set."""

from __future__ import annotations

from mnemotomy.methods.language.gradient import (
    ALPHAS,
    EPOCHS,
    GENTLE,
    LEARNING_RATES,
    GradientMethod,
    RetainingMethod,
    StepLoss,
    forgotten,
    nll,
    over_tokens,
)
from mnemotomy.methods.language.loop import Loss
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.registry import register


@register(
    "gradient-ascent",
    "GradAscent",
    "Jang et al. 2023, Knowledge Unlearning for Mitigating Privacy Risks in Language Models",
    cost="10 epochs of the forget set, forwards and backwards",
    grid={"learning_rate": LEARNING_RATES, "epochs": EPOCHS},
    small={"learning_rate": (3e-5, 1e-4), "epochs": (2,)},
)
class GradientAscent(GradientMethod):
    """``−L_NLL(X⁺)``; the retain set is never read."""

    def objective(self, problem: TextProblem) -> Loss:
        return ascent(problem)


def ascent(problem: TextProblem) -> Loss:
    """``−L_NLL`` of the answers to forget."""
    likelihood = nll(problem)
    return over_tokens(forgotten(problem), lambda model, rows: -likelihood(model, rows))


@register(
    "grad-diff",
    "GradDiff",
    "Liu et al. 2022, Continual Learning and Private Unlearning",
    grid={"learning_rate": LEARNING_RATES, "alpha": ALPHAS, "epochs": EPOCHS},
    small={"learning_rate": GENTLE, "alpha": (1.0, 5.0), "epochs": (5,)},
)
class GradDiff(RetainingMethod):
    """``−γ L_NLL(X⁺) + α L_retain(X⁻)``."""

    def forgetting(self, problem: TextProblem) -> StepLoss:
        return ascent(problem)
