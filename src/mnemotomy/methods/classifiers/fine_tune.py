"""Training on the retain set alone: from scratch (the gold model), or further, with or without a penalty."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.classifier import cross_entropy
from mnemotomy.methods.classifiers.gradient import LEARNING_RATES, ClassifierGradientMethod
from mnemotomy.methods.classifiers.problem import ClassifierMethod, Problem
from mnemotomy.methods.registry import register


@register("retrain", "Retrain", "exact unlearning (Cao & Yang 2015)", family="baseline", cost="training anew")
class Retrain(ClassifierMethod):
    """The original training, on the retain set alone, from the original initialisation."""

    def __call__(self, problem: Problem) -> nn.Module:
        return problem.fit(problem.fresh(), problem.retain).eval()


@register("fine-tune", "Fine-tune", "Warnecke et al. 2023, Machine Unlearning of Features and Labels")
class FineTune(ClassifierGradientMethod):
    """``E_{X⁻} L_CE`` (Appendix B.4.1 of arXiv 2606.14997)."""

    def __call__(self, problem: Problem) -> nn.Module:
        return self.train(problem, partial(problem.retain.batches, self.batch_size), self.loss)

    def loss(self, model: nn.Module, batch: Examples) -> Tensor:
        """The loss on a batch of the retain set."""
        return cross_entropy(model, batch)


@register(
    "l1-sparse",
    "l1-Sparse",
    "Jia et al. 2023, Model Sparsity Can Simplify Machine Unlearning",
    grid={"learning_rate": LEARNING_RATES, "gamma": (1e-6, 1e-5, 1e-4)},
)
class L1Sparse(FineTune):
    """``E_{X⁻} L_CE + γ Σ |wᵢ|`` over all trained parameters (Appendix B.4.1 of arXiv 2606.14997); γ is constant.

    Raises:
        ConfigurationError: γ is below 0.
    """

    gamma: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gamma >= 0.0:
            raise ConfigurationError(f"γ is at least 0, not {self.gamma}")

    def loss(self, model: nn.Module, batch: Examples) -> Tensor:
        norms = [parameter.abs().sum() for parameter in model.parameters() if parameter.requires_grad]
        return cross_entropy(model, batch) + self.gamma * torch.stack(norms).sum()
