"""What the gradient methods share: a copy of the model is trained on the method's own loss."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.fingerprints import fingerprint, tokenizer_digest
from mnemotomy.core.keys import key
from mnemotomy.core.modules import device_of, observing
from mnemotomy.metabolism.terms import kl_divergence
from mnemotomy.methods.base import Family
from mnemotomy.methods.language.loop import Descent, DescentRun, Loss, Step, descend
from mnemotomy.methods.language.losses import negative_log_likelihood
from mnemotomy.methods.language.predictions import predict, predicted
from mnemotomy.methods.language.problem import LanguageMethod, TextProblem, sequences
from mnemotomy.text.encoding import Encoded

OPEN_UNLEARNING = "Dorna et al. 2025, OpenUnlearning: Accelerating LLM Unlearning via Unified Benchmarking"
LEARNING_RATES = (1e-5, 2e-5, 5e-5)
ALPHAS = (1.0, 2.0, 5.0)
BETAS = (0.05, 0.1, 0.5)
EPOCHS = (5, 10)
"""OpenUnlearning's grids, from the names of its published checkpoints for Llama-3.2-1B and forget10."""

GENTLE, STRONG = (1e-4, 3e-4), (1e-3, 3e-3)
"""Rates that move a model with a few million parameters as far as OpenUnlearning's move one with a billion.

On tofu-tiny, NPO and SimNPO hardly forget at 3e-4, and NPO improves up to 3e-3, three times the rate of the
fine-tuning; so every loss that is bounded below is tried at high rates. The small search spaces have as many epochs as
a CPU allows.
"""

StepLoss = Callable[[nn.Module, Step], Tensor]
Rows = Callable[[Step], Sequence[Encoded]]
"""A text for each example of a step."""
Mean = Callable[[nn.Module, Sequence[Encoded]], Tensor]
"""Over the tokens of texts."""


@dataclass(frozen=True)
class GradientMethod(Descent, LanguageMethod):
    """A method that trains a copy of the model with ``loop.descend``."""

    family: ClassVar[Family] = "gradient"
    draws: ClassVar = True
    cost: ClassVar[str] = "10 epochs of both sets, forwards and backwards"

    def __call__(self, problem: TextProblem) -> nn.Module:
        return self.train(problem, copy.deepcopy(problem.model), problem.folder)

    def train(self, problem: TextProblem, model: nn.Module, folder: str | Path | None = None) -> nn.Module:
        """Train ``model``, a copy of the problem's own or an edited one, in place; return it in evaluation mode.

        A loss's reference is the problem's own model, which must not change meanwhile.

        Args:
            model: where to start.
            folder: of checkpoints; an interrupted run resumes from there.

        Raises:
            ConfigurationError: a package is missing, or ``model`` is the problem's own.
            DataError: an example lacks what the method needs.
            TrainingError: a loss is no longer finite; ``model`` is then unusable.
        """
        return self.minimise(self.objective(problem), problem, model, folder)

    def minimise(
        self, loss: Loss, problem: TextProblem, model: nn.Module, folder: str | Path | None = None
    ) -> nn.Module:
        """``train`` with an objective made before."""
        if model is problem.model:
            raise ConfigurationError(f"{self.name} would train the problem's own model, its reference; give a copy")
        run = run_of(self, problem, model, folder)
        return descend(model, loss, self, run, companion=loss if isinstance(loss, nn.Module) else None)

    @abstractmethod
    def objective(self, problem: TextProblem) -> Loss:
        """The loss, with all that is fixed computed once; where it is a module, its parameters are trained too."""


def run_of(method: LanguageMethod, problem: TextProblem, model: nn.Module, folder: str | Path | None) -> DescentRun:
    """The run of a method that trains ``model``; an interrupted one resumes from ``folder``."""
    path, key = (None, "") if folder is None else (Path(folder), checkpoint_key(method, problem, model))
    return DescentRun(method.name, len(problem.forget), len(problem.retain), problem.seed, path, key)


def checkpoint_key(method: LanguageMethod, problem: TextProblem, model: nn.Module) -> str:
    """A hash of all that the training depends on, so that it never resumes from another one's checkpoint."""
    examples = [[[turn.content for turn in one.turns] for one in s] for s in (problem.forget, problem.retain)]
    prints = [fingerprint(one) for one in (problem.model, model)]
    return key([
        method.name, asdict(cast(Any, method)), method.material(), problem.seed, asdict(problem.template),
        tokenizer_digest(problem.tokenizer), prints, device_of(model).type, examples,
        *([] if problem.ending.counts else ["without end tokens"]),
    ])  # fmt: skip


@dataclass(frozen=True)
class RetainingMethod(GradientMethod):
    """A method whose loss is ``γ · L_forget + α · L_retain``.

    Attributes:
        gamma: weight of forgetting.
        alpha: weight of retaining; at 0, its loss is not computed.
        retain_loss: ``NLL``, the negative log-likelihood of the retained answers, or ``KL``, the divergence from the
            reference on them; ``states`` is RMU's.
        retain_losses: the choices for this method.
    """

    gamma: float = 1.0
    alpha: float = 1.0
    retain_loss: Literal["NLL", "KL", "states"] = "NLL"

    retain_losses: ClassVar[tuple[str, ...]] = ("NLL", "KL")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gamma >= 0.0 or not self.alpha >= 0.0:
            raise ConfigurationError(f"γ and α are at least 0, not {self.gamma} and {self.alpha}")
        if self.retain_loss not in self.retain_losses:
            raise ConfigurationError(f"retain_loss is one of {', '.join(self.retain_losses)}, not {self.retain_loss!r}")

    def objective(self, problem: TextProblem) -> Loss:
        forgetting, retaining = self.forgetting(problem), self.retaining(problem)

        def loss(model: nn.Module, step: Step) -> Tensor:
            value = self.gamma * forgetting(model, step)
            return value + self.alpha * retaining(model, step) if self.alpha else value

        return loss

    @abstractmethod
    def forgetting(self, problem: TextProblem) -> StepLoss:
        """``L_forget`` of a step."""

    def retaining(self, problem: TextProblem) -> StepLoss:
        """``L_retain`` of a step, over the answers' tokens."""
        mean = nll(problem) if self.retain_loss == "NLL" else kl(problem)
        return over_tokens(retained(problem) if self.alpha else lambda _: [], mean)


def forgotten(problem: TextProblem) -> Rows:
    """The answers to forget."""
    rows = sequences(problem, problem.forget)
    return lambda step: [rows[index] for index in step.forget]


def retained(problem: TextProblem) -> Rows:
    """The answers to retain."""
    rows = sequences(problem, problem.retain)
    return lambda step: [rows[index] for index in step.retain]


def over_tokens(rows: Rows, mean: Mean) -> StepLoss:
    """The mean over the tokens of a step's texts; a part counts by its share of the tokens."""

    def loss(model: nn.Module, step: Step) -> Tensor:
        drawn = rows(step.whole)
        return mean(model, step.own(drawn)) * step.share(lambda one: predicted(one.own(drawn)))

    return loss


def over_examples(mean: StepLoss) -> StepLoss:
    """The mean over the examples of a step; a part counts by its share of the examples."""
    return lambda model, step: mean(model, step) * step.share()


def nll(problem: TextProblem) -> Mean:
    """``L_NLL``, the negative log-likelihood of texts."""
    return lambda model, rows: negative_log_likelihood(predict(model, rows, problem.tokenizer).log_probabilities())


def kl(problem: TextProblem) -> Mean:
    """The divergence from the problem's own model on texts."""
    return lambda model, rows: kl_divergence(
        predict(model, rows, problem.tokenizer).logits, reference_logits(problem, rows)
    )


def reference_logits(problem: TextProblem, examples: Sequence[Encoded]) -> Tensor:
    """The logits ``[tokens, vocabulary]`` of the problem's own model, in the order of ``predictions.predict``."""
    with observing(problem.model):
        return predict(problem.model, examples, problem.tokenizer).logits
