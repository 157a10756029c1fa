"""How parameters are updated: the optimiser and its schedule, parameter groups, learning-rate shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mnemotomy.core.errors import TrainingError


@dataclass(frozen=True)
class Optimiser:
    """One update of the parameters.

    Attributes:
        optimizer: torch's own.
        schedule: stepped after every update.
        clip: norm that the gradient is clipped to; None does not clip.
        adjust: changes the gradients in place just before the update.
    """

    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None
    clip: float | None = None
    adjust: Callable[[], None] | None = None


def trained_parameters(model: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """The parameters that require gradients, by name.

    Raises:
        TrainingError: there are none; the message begins with ``name``.
    """
    parameters = {key: value for key, value in model.named_parameters() if value.requires_grad}
    if not parameters:
        raise TrainingError(f"{name}: no parameter requires gradients; call requires_grad_(True) on the model")
    return parameters


def check_precision(parameters: Iterable[nn.Parameter], name: str) -> None:
    """Refuse weights in which most updates would be rounded away: bfloat16 keeps 8 bits, float16 11.

    Raises:
        TrainingError: a parameter is in such a dtype; the message begins with ``name``.
    """
    narrow = next((one.dtype for one in parameters if one.dtype in (torch.bfloat16, torch.float16)), None)
    if narrow is not None:
        raise TrainingError(
            f"{name}: the weights are {str(narrow).removeprefix('torch.')}, in which most updates are rounded away; "
            "load the model in float32 (with precision='bf16' the passes are still bfloat16), or train an adapter"
        )


def decaying_matrices(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimiser: weight decay on matrices, not on biases and norms."""
    found = list(parameters)
    groups = [
        {"params": [one for one in found if one.dim() > 1], "weight_decay": weight_decay},
        {"params": [one for one in found if one.dim() <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def linear(number: int, total: int, rising: int) -> float:
    """The share of the peak rate at update ``number`` of ``total``: linear up for ``rising`` updates, then down."""
    return min((number + 1) / max(1, rising), (total - number) / max(1, total - rising), 1.0)


def cosine(number: int, total: int, rising: int) -> float:
    """Like ``linear``, but down to 0 along a cosine."""
    if number < rising:
        return (number + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (number - rising) / max(1, total - rising)))
