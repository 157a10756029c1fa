"""NPO and SimNPO: negative preference optimisation, ascent that fades as an answer becomes unlikely."""

from __future__ import annotations

from torch import Tensor, nn

from mnemotomy.methods.language.gradient import (
    EPOCHS,
    LEARNING_RATES,
    STRONG,
    StepLoss,
    forgotten,
    over_examples,
)
from mnemotomy.methods.language.loop import Step
from mnemotomy.methods.language.losses import preference_loss, simnpo_loss
from mnemotomy.methods.language.predictions import predict, sequence_log_probabilities
from mnemotomy.methods.language.preference import Tempered
from mnemotomy.methods.language.problem import TextProblem, sequences
from mnemotomy.methods.registry import register


@register(
    "npo",
    "NPO",
    "Zhang et al. 2024, Negative Preference Optimization: From Catastrophic Collapse to Effective Unlearning",
    small={"learning_rate": STRONG, "alpha": (1.0,), "epochs": (5, 10)},
)
class NPO(Tempered):
    """``−γ 2/β · E log σ(−β log π(y) / π_ref(y)) + α L_retain`` (Zhang et al. 2024, Eq. 3)."""

    def forgetting(self, problem: TextProblem) -> StepLoss:
        rows = sequences(problem, problem.forget)
        reference = sequence_log_probabilities(problem.model, rows, problem.tokenizer)

        def loss(model: nn.Module, step: Step) -> Tensor:
            found = predict(model, [rows[index] for index in step.forget], problem.tokenizer)
            return preference_loss(reference[step.forget] - found.summed(found.log_probabilities()), self.beta)

        return over_examples(loss)


@register(
    "simnpo",
    "SimNPO",
    "Fan et al. 2025, Simplicity Prevails: Rethinking Negative Preference Optimization for LLM Unlearning",
    grid={
        "learning_rate": LEARNING_RATES,
        "beta": (3.5, 4.5),
        "delta": (0.0, 1.0),
        "gamma": (0.125, 0.25),
        "epochs": EPOCHS,
    },
    small={"learning_rate": (3e-4, *STRONG), "delta": (0.0, 1.0), "epochs": (5,)},
)
class SimNPO(Tempered):
    """``−γ 2/β · E log σ(β (−log π(y) / |y| − δ)) + α L_retain`` (Fan et al. 2025, Eq. 4)."""

    beta: float = 4.5
    delta: float = 0.0
    gamma: float = 0.125

    def forgetting(self, problem: TextProblem) -> StepLoss:
        rows = forgotten(problem)

        def loss(model: nn.Module, step: Step) -> Tensor:
            found = predict(model, rows(step), problem.tokenizer)
            return simnpo_loss(found.summed(found.log_probabilities()), found.lengths(), self.beta, self.delta)

        return over_examples(loss)
