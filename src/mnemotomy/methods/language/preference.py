"""What NPO, SimNPO, IdkDPO and AltPO share: β, and DPO with another answer preferred to the one to forget."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.methods.base import SearchSpace
from mnemotomy.methods.language.gradient import (
    ALPHAS,
    BETAS,
    EPOCHS,
    LEARNING_RATES,
    RetainingMethod,
    Rows,
    StepLoss,
    over_examples,
)
from mnemotomy.methods.language.loop import Step
from mnemotomy.methods.language.losses import preference_loss
from mnemotomy.methods.language.predictions import predict, sequence_log_probabilities
from mnemotomy.methods.language.problem import TextProblem, sequences


@dataclass(frozen=True)
class Tempered(RetainingMethod):
    """A method whose ``L_forget`` is ``−2/β · E log σ(β · margin)``."""

    beta: float = 0.1

    search_space: ClassVar = SearchSpace(
        {"learning_rate": LEARNING_RATES, "beta": BETAS, "alpha": ALPHAS, "epochs": EPOCHS}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta > 0.0:
            raise ConfigurationError(f"β is above 0, not {self.beta}")


@dataclass(frozen=True)
class Preference(Tempered):
    """``−γ 2/β · E log σ(β (log π(y′)/π_ref(y′) − log π(y)/π_ref(y))) + α L_retain``, y′ preferred to y."""

    needs: ClassVar = ("questions",)

    @abstractmethod
    def preferred(self, problem: TextProblem) -> Rows:
        """The preferred answers to the questions of a whole step."""

    def forgetting(self, problem: TextProblem) -> StepLoss:
        preferred, forgotten = self.preferred(problem), sequences(problem, problem.forget)
        reference = sequence_log_probabilities(problem.model, forgotten, problem.tokenizer)

        def loss(model: nn.Module, step: Step) -> Tensor:
            better, worse = step.own(preferred(step.whole)), [forgotten[index] for index in step.forget]
            before = sequence_log_probabilities(problem.model, better, problem.tokenizer)
            won, lost = (predict(model, rows, problem.tokenizer) for rows in (better, worse))
            gain = won.summed(won.log_probabilities()) - before
            return preference_loss(gain - lost.summed(lost.log_probabilities()) + reference[step.forget], self.beta)

        return over_examples(loss)
