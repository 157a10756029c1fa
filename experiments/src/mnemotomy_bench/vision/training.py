"""Training a classifier by its recipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.modules import device_of
from mnemotomy.core.precision import autocast
from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.classifier import logits
from mnemotomy.training.loop import Update
from mnemotomy.training.optimiser import Optimiser, decaying_matrices
from mnemotomy_bench.lab.resources import Usage
from mnemotomy_bench.vision.augment import flipped, resized, shifted
from mnemotomy_bench.vision.fitting import fit
from mnemotomy_bench.vision.recipes import Recipe

Shown = tuple[Tensor, Tensor]
"""Images as they are shown, and their labels."""


def train_classifier(model: nn.Module, examples: Examples, recipe: Recipe, *, seed: int, path: Path) -> Usage:
    """Train ``model`` in place, or load it from ``path``; see `fit`.

    Convolutions run channels-last; in bfloat16 if the device has instructions for it.

    Args:
        model: untrained.
        examples: every epoch sees all of them.
        recipe: how to train.
        seed: of the order of the examples and of augmentation.
        path: of the weights.

    Raises:
        TrainingError: training diverged.
    """
    device = device_of(model)
    layout = _layout(model)
    model.to(memory_format=layout)  # type: ignore[call-overload]
    steps = sum(1 for _ in examples.batches(recipe.batch_size))
    optimizer = _optimizer(model, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _one_cycle(step / (steps * recipe.epochs), recipe)
    )

    def draw(epoch: int, generator: torch.Generator) -> Iterator[Update[Shown]]:
        side = recipe.side(epoch / recipe.epochs)
        for batch in examples.batches(recipe.batch_size, generator):
            images = _shown(batch.inputs.to(device), recipe, side, generator).contiguous(memory_format=layout)
            yield Update([(images, batch.labels.to(device))])

    def loss(model: nn.Module, shown: Shown) -> Tensor:
        images, labels = shown
        with autocast(device, backward=True):
            return nn.functional.cross_entropy(logits(model, images), labels, label_smoothing=recipe.label_smoothing)

    return fit(
        model, path, draw, loss, Optimiser(optimizer, schedule),
        epochs=recipe.epochs, seed=seed, name=f"training {path.stem}",
    )  # fmt: skip


def _shown(
    images: Float[Tensor, "n ..."], recipe: Recipe, side: int | None, generator: torch.Generator
) -> Float[Tensor, "n ..."]:
    images = shifted(images, recipe.padding, generator)
    images = flipped(images, generator) if recipe.flip else images
    return images if side is None else resized(images, side)


def _layout(model: nn.Module) -> torch.memory_format:
    """Channels-last for convolutions, unless channels do not fill vectors, which crashes torch 2.13."""
    kernels = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    fill = kernels and all(module.out_channels % 8 == 0 for module in kernels)
    return torch.channels_last if fill else torch.contiguous_format


def _one_cycle(done: float, recipe: Recipe) -> float:
    """The learning rate as a share of the highest: up from a tenth of it, down to 0, both linearly."""
    if done < recipe.warmup:
        return 0.1 + 0.9 * done / recipe.warmup
    return max(0.0, (1.0 - done) / (1.0 - recipe.warmup))


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    groups = decaying_matrices(model.parameters(), recipe.weight_decay)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=recipe.learning_rate)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate)
    raise ConfigurationError(f"there is no optimiser {recipe.optimizer!r}; choose sgd, adam or adamw")
