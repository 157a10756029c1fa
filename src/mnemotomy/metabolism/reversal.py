"""Gradient reversal: the identity forwards, and ``−α`` times the gradient backwards (Section 4.2)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, states: Tensor, alpha: float) -> Tensor:
        context.alpha = alpha
        return states.view_as(states)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -context.alpha * gradients[0], None


def reverse_gradient(states: Tensor, alpha: float) -> Tensor:
    """``GRL(h, α)`` of Algorithm 1: ``states`` unchanged, of any shape; what flows back is multiplied by ``−alpha``."""
    return _Reversal.apply(states, alpha)  # type: ignore[no-untyped-call]
