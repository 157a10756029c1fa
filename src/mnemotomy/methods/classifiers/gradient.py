"""What the gradient methods share: SGD on the steps that each method draws, with its own loss."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.methods.base import Family, SearchSpace
from mnemotomy.methods.classifiers.problem import ClassifierMethod, Problem
from mnemotomy.training.loop import Run, Update, train
from mnemotomy.training.optimiser import Optimiser, trained_parameters

Batch = TypeVar("Batch")
Scalar = Float[Tensor, ""]
Mask = Mapping[str, Bool[Tensor, "..."]]
"""By parameter, True where it may change."""


@dataclass(frozen=True)
class SGDSettings:
    """SGD as in Appendix B.4.1 of arXiv 2606.14997; the learning rate is constant.

    Raises:
        ConfigurationError: a value is out of range.
    """

    learning_rate: float = 0.01
    epochs: int = 10
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        if not self.learning_rate > 0.0 or self.epochs < 1 or self.batch_size < 1:
            raise ConfigurationError(
                f"learning rate, epochs and batch size are above 0, not {self.learning_rate}, {self.epochs} and "
                f"{self.batch_size}"
            )
        if not 0.0 <= self.momentum < 1.0 or not self.weight_decay >= 0.0:
            raise ConfigurationError(
                f"momentum is in [0, 1) and weight decay is at least 0, not {self.momentum} and {self.weight_decay}"
            )


def train_by_sgd(
    model: nn.Module,
    draw: Callable[[torch.Generator], Iterable[Batch]],
    loss: Callable[[nn.Module, Batch], Scalar],
    settings: SGDSettings,
    *,
    seed: int,
    name: str = "unlearning",
    mask: Mask | None = None,
) -> nn.Module:
    """Train ``model`` in place, in training mode, and return it in evaluation mode.

    Args:
        model: every parameter that requires gradients is trained.
        draw: the steps of one epoch; the generator carries over from epoch to epoch.
        loss: of the model on one step.
        seed: of the generator and of dropout; the global random state is restored.
        name: of the progress bar, and in errors.
        mask: nothing changes where it is False, not even by weight decay.

    Raises:
        TrainingError: a loss or a parameter is no longer finite, or there is nothing to train.
    """
    parameters = trained_parameters(model, name)
    optimizer = torch.optim.SGD(list(parameters.values()), lr=settings.learning_rate, momentum=settings.momentum)
    train(
        model,
        lambda _, generator: (Update([step]) for step in draw(generator)),
        loss,
        Optimiser(optimizer, adjust=lambda: _decay_and_mask(parameters, settings.weight_decay, mask)),
        Run(name, settings.epochs, seed=seed),
    )
    return model


def _decay_and_mask(parameters: Mapping[str, nn.Parameter], weight_decay: float, mask: Mask | None) -> None:
    """Weight decay by hand, before the mask: the optimiser's own would move what is masked."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            if parameter.grad is None:
                continue
            parameter.grad.add_(parameter, alpha=weight_decay)
            if mask is not None:
                parameter.grad.mul_(mask[name])


LEARNING_RATES = (0.1, 0.01, 0.001, 5e-4, 3e-4, 1e-4, 5e-5)
"""Table 5 of arXiv 2606.14997, the same for every gradient method."""


@dataclass(frozen=True)
class ClassifierGradientMethod(SGDSettings, ClassifierMethod):
    """A method that trains a copy of the model with ``train_by_sgd``."""

    family: ClassVar[Family] = "gradient"
    cost: ClassVar = "epochs, forwards and backwards"
    search_space: ClassVar = SearchSpace({"learning_rate": LEARNING_RATES})

    def train(
        self,
        problem: Problem,
        draw: Callable[[torch.Generator], Iterable[Batch]],
        loss: Callable[[nn.Module, Batch], Scalar],
        mask: Mask | None = None,
    ) -> nn.Module:
        """A copy of the problem's model after ``train_by_sgd``."""
        model = copy.deepcopy(problem.model)
        return train_by_sgd(model, draw, loss, self, seed=problem.seed, name=self.name, mask=mask)
