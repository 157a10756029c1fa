"""How many floating-point operations a method takes, counted in a separate run: counting slows small models down."""

from __future__ import annotations

import dataclasses

from torch import nn

from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.classifier import cross_entropy
from mnemotomy.methods.classifiers.gradient import ClassifierGradientMethod
from mnemotomy.methods.classifiers.problem import ClassifierMethod, Problem
from mnemotomy_bench.lab.flops import counted_flops

THINNED = 8
"""Gradient methods are counted on every eighth example in batches an eighth as large, and the count is multiplied."""


def method_flops(method: ClassifierMethod, problem: Problem) -> int:
    """The operations of one run of ``method``: convolutions, products and factorisations; the rest is negligible."""
    if not isinstance(method, ClassifierGradientMethod):
        return counted_flops(lambda: method(problem))
    batch_size = max(2, method.batch_size // THINNED)
    small = dataclasses.replace(problem, forget=_thinned(problem.forget), retain=_thinned(problem.retain))
    # at this rate nothing can diverge, and the count does not depend on it
    calm = dataclasses.replace(method, batch_size=batch_size, learning_rate=1e-9)
    return THINNED * counted_flops(lambda: calm(small))


def training_flops(model: nn.Module, examples: Examples, epochs: float) -> int:
    """The operations of training from scratch, extrapolated from one batch forward and backward."""
    batch = examples[: min(128, len(examples))]
    once = counted_flops(lambda: cross_entropy(model, batch).backward())
    model.zero_grad()
    return round(once / len(batch) * len(examples) * epochs)


def _thinned(examples: Examples) -> Examples:
    return Examples(examples.inputs[::THINNED], examples.labels[::THINNED])
