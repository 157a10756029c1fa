"""IdkNLL: teach the model to answer the questions to forget with "I don't know"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mnemotomy.methods.base import SearchSpace
from mnemotomy.methods.language.gradient import ALPHAS, EPOCHS, LEARNING_RATES, STRONG, RetainingMethod, StepLoss
from mnemotomy.methods.language.loop import Step
from mnemotomy.methods.language.losses import negative_log_likelihood
from mnemotomy.methods.language.predictions import predict
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.language.refusals import Refused, read_refusals
from mnemotomy.methods.registry import register


@register
@dataclass(frozen=True)
class IdkNLL(RetainingMethod):
    """``γ L_NLL(refusals of X⁺) + α L_retain``; a refusal is drawn anew each time that a question is seen.

    Attributes:
        refusals: a file with one per line, as TOFU's ``idontknow.jsonl``; ours where none is named.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    refusals: str | None = None

    name: ClassVar = "idk-nll"
    title: ClassVar = "IdkNLL"
    paper: ClassVar = "Maini et al. 2024, TOFU: A Task of Fictitious Unlearning for LLMs"
    needs: ClassVar = ("questions",)
    search_space: ClassVar = SearchSpace(
        {"learning_rate": LEARNING_RATES, "alpha": ALPHAS, "epochs": EPOCHS},
        small={"learning_rate": STRONG, "alpha": (1.0,), "epochs": (3,)},
    )

    def material(self) -> Sequence[str]:
        return () if self.refusals is None else read_refusals(self.refusals)

    def forgetting(self, problem: TextProblem) -> StepLoss:
        refused = Refused(problem, self.refusals)

        def loss(model: nn.Module, step: Step) -> Tensor:
            found = predict(model, refused.draw(step), problem.tokenizer)
            return negative_log_likelihood(found.log_probabilities())

        return loss
