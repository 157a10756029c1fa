"""``fit``: train a network on batches, for those who need nothing more of the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mnemotomy.training.loop import Run, Update, train
from mnemotomy.training.optimiser import Optimiser

Batch = TypeVar("Batch")


def fit(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: Callable[[nn.Module, Batch], Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    epochs: int = 1,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
    clip: float | None = None,
    seed: int | None = None,
    name: str = "training",
    progress: bool = True,
    on_update: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> nn.Module:
    """Train ``model`` in place, in training mode, and return it in evaluation mode.

    Args:
        model: on the device of the batches.
        batches: iterated anew in every epoch, such as a ``DataLoader``.
        loss: the scalar loss of the model on a batch.
        optimizer: of the parameters that are trained.
        epochs: how often the batches are iterated.
        schedule: stepped after every update.
        clip: norm that the gradient is clipped to; None does not clip.
        seed: of torch's random state, which is restored afterwards; None leaves it alone.
        name: of the progress bar, and in errors.
        progress: show a bar on a terminal.
        on_update: called after each update with its record: ``step``, ``epoch``, ``learning_rate`` and ``total``, the
            loss.

    Raises:
        TrainingError: a loss, a gradient or a parameter is not finite, or the weights are in bfloat16 or float16.
    """
    updates = len(batches) if isinstance(batches, Sized) else None
    run = Run(name, epochs, updates, seed, progress=progress, on_update=on_update)
    train(model, lambda *_: (Update([batch]) for batch in batches), loss, Optimiser(optimizer, schedule, clip), run)
    return model
