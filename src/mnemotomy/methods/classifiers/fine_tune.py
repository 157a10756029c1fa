"""Fine-tune: go on training on what is kept, and let the rest be overwritten."""

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
class FineTune(GradientMethod):
    """``E_{X⁻} L_CE`` (Appendix B.4.1 of arXiv 2606.14997)."""

    name: ClassVar = "fine-tune"
    title: ClassVar = "Fine-tune"
    paper: ClassVar = "Warnecke et al. 2023, Machine Unlearning of Features and Labels"

    def __call__(self, problem: Problem) -> nn.Module:
        return descend(
            self.copy_of(problem),
            lambda generator: problem.retain.batches(self.batch_size, generator),
            cross_entropy,
            self,
            seed=problem.seed,
            name=self.name,
        )
