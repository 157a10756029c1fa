"""Random Label: train on everything, with wrong labels on what is to be forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor, nn

from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.classifier import cross_entropy
from mnemotomy.methods.classifiers.gradient import GradientMethod
from mnemotomy.methods.classifiers.loop import Mask, descend
from mnemotomy.methods.classifiers.problem import Problem
from mnemotomy.methods.registry import register


@register
@dataclass(frozen=True)
class RandomLabel(GradientMethod):
    """``E_{X⁻} L_CE(y) + E_{X⁺} L_CE(y_rand)`` on the combined data (Appendix B.4.1 of arXiv 2606.14997).

    Both sets are shuffled together, each example counting once per epoch. ``y_rand`` is uniform over the other classes
    and drawn anew in every epoch: one fixed draw would be learned by heart.
    """

    name: ClassVar = "random-label"
    title: ClassVar = "Random Label"
    paper: ClassVar = "Golatkar et al. 2020, Eternal Sunshine of the Spotless Net; Hayase et al. 2020"

    def __call__(self, problem: Problem) -> nn.Module:
        return relabel(problem, self.copy_of(problem), self)


def relabel(problem: Problem, model: nn.Module, method: GradientMethod, mask: Mask | None = None) -> nn.Module:
    """Train ``model`` on the combined data with random labels; SalUn does so under a mask."""
    inputs = torch.cat([problem.forget.inputs, problem.retain.inputs])

    def epoch(generator: torch.Generator) -> Iterator[Examples]:
        wrong = other_labels(problem.forget.labels, problem.classes, generator)
        return Examples(inputs, torch.cat([wrong, problem.retain.labels])).batches(method.batch_size, generator)

    return descend(model, epoch, cross_entropy, method, seed=problem.seed, name=method.name, mask=mask)


def other_labels(labels: Int[Tensor, " n"], classes: int, generator: torch.Generator) -> Int[Tensor, " n"]:
    """For each label, one of the other classes, all equally likely."""
    shift = torch.randint(1, classes, labels.shape, generator=generator).to(labels.device)
    return (labels + shift) % classes
