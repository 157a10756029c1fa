"""NegGrad and NegGrad+: gradient ascent on the forget set, alone or together with descent on the retain set."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.classifier import cross_entropy
from mnemotomy.methods.classifiers.gradient import LEARNING_RATES, ClassifierGradientMethod
from mnemotomy.methods.classifiers.problem import Problem
from mnemotomy.methods.registry import register


@register(
    "neggrad", "NegGrad", "Thudi et al. 2022, Unrolling SGD: Understanding Factors Influencing Machine Unlearning"
)
class NegGrad(ClassifierGradientMethod):
    """``−E_{X⁺} L_CE`` (Appendix B.4.1 of arXiv 2606.14997)."""

    learning_rate: float = 1e-4

    def __call__(self, problem: Problem) -> nn.Module:
        batches = partial(problem.forget.batches, self.batch_size)
        return self.train(problem, batches, lambda model, batch: -cross_entropy(model, batch))


Pair = tuple[Examples, Examples]


@register(
    "neggrad-plus",
    "NegGrad+",
    "Kurmanji et al. 2023, Towards Unbounded Machine Unlearning",
    grid={"learning_rate": LEARNING_RATES, "beta": (0.99,), "epochs": (5, 10)},
)
class NegGradPlus(ClassifierGradientMethod):
    """``β E_{X⁻} L_CE − (1 − β) E_{X⁺} L_CE`` (Appendix B.4.1 of arXiv 2606.14997).

    An epoch is one pass over the retain set; each batch is paired with one of the forget set, which starts again in a
    new order as often as needed.

    Raises:
        ConfigurationError: β is not in [0, 1].
    """

    beta: float = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.beta <= 1.0:
            raise ConfigurationError(f"β, the weight of the retain set, is in [0, 1], not {self.beta}")

    def __call__(self, problem: Problem) -> nn.Module:
        def pairs(generator: torch.Generator) -> Iterator[Pair]:
            forget = itertools.chain.from_iterable(
                problem.forget.batches(self.batch_size, generator) for _ in itertools.repeat(None)
            )
            return zip(problem.retain.batches(self.batch_size, generator), forget, strict=False)

        def loss(model: nn.Module, pair: Pair) -> Tensor:
            retain, forget = pair
            return self.beta * cross_entropy(model, retain) - (1.0 - self.beta) * cross_entropy(model, forget)

        return self.train(problem, pairs, loss)
