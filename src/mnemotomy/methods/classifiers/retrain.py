"""Retrain: the gold standard, a model that never saw what is to be forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mnemotomy.methods.classifiers.problem import ClassifierMethod, Problem
from mnemotomy.methods.registry import register


@register
@dataclass(frozen=True)
class Retrain(ClassifierMethod):
    """The original training, on the retain set alone, from the original's own initialisation."""

    name: ClassVar = "retrain"
    title: ClassVar = "Retrain"
    paper: ClassVar = "exact unlearning (Cao & Yang 2015)"
    family: ClassVar = "baseline"
    cost: ClassVar = "training anew"

    def __call__(self, problem: Problem) -> nn.Module:
        return problem.fit(problem.fresh(), problem.retain).eval()
