"""NegGrad: gradient ascent on what is to be forgotten. Nothing holds the rest, and the loss has no bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mnemotomy.methods.classifiers.classifier import cross_entropy
from mnemotomy.methods.classifiers.gradient import GradientMethod
from mnemotomy.methods.classifiers.loop import descend
from mnemotomy.methods.classifiers.problem import Problem
from mnemotomy.methods.registry import register


@register
@dataclass(frozen=True)
class NegGrad(GradientMethod):
    """``−E_{X⁺} L_CE`` (Appendix B.4.1 of arXiv 2606.14997)."""

    learning_rate: float = 1e-4

    name: ClassVar = "neggrad"
    title: ClassVar = "NegGrad"
    paper: ClassVar = "Thudi et al. 2022, Unrolling SGD: Understanding Factors Influencing Machine Unlearning"

    def __call__(self, problem: Problem) -> nn.Module:
        return descend(
            self.copy_of(problem),
            lambda generator: problem.forget.batches(self.batch_size, generator),
            lambda model, batch: -cross_entropy(model, batch),
            self,
            seed=problem.seed,
            name=self.name,
        )
