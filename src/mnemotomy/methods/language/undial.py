"""UNDIAL: distil the model into itself, with the teacher's logits of the tokens to forget lowered."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.methods.language.gradient import (
    ALPHAS,
    EPOCHS,
    STRONG,
    RetainingMethod,
    StepLoss,
    forgotten,
    over_tokens,
    reference_logits,
)
from mnemotomy.methods.language.losses import undial_loss
from mnemotomy.methods.language.predictions import predict
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.registry import register
from mnemotomy.text.encoding import Encoded


@register(
    "undial",
    "UNDIAL",
    "Dong et al. 2025, UNDIAL: Self-Distillation with Adjusted Logits for Robust Unlearning",
    grid={"learning_rate": (1e-5, 1e-4, 3e-4), "beta": (3.0, 10.0, 30.0), "alpha": ALPHAS, "epochs": EPOCHS},
    small={"learning_rate": STRONG, "beta": (3.0, 10.0), "alpha": (1.0,), "epochs": (3,)},
)
class UNDIAL(RetainingMethod):
    """``γ CE(softmax(logits_ref − β · onehot(y)), π) + α L_retain`` (Dong et al. 2025, Eq. 4).

    The loss is over the answers' tokens; OpenUnlearning averages over prompts and padding too, where the lowered token
    has no meaning.
    """

    learning_rate: float = 1e-4
    alpha: float = 0.0
    beta: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta >= 0.0:
            raise ConfigurationError(f"β is at least 0, not {self.beta}")

    def forgetting(self, problem: TextProblem) -> StepLoss:
        def mean(model: nn.Module, rows: Sequence[Encoded]) -> Tensor:
            found = predict(model, rows, problem.tokenizer)
            return undial_loss(found.logits, reference_logits(problem, rows), found.targets, self.beta)

        return over_tokens(forgotten(problem), mean)
