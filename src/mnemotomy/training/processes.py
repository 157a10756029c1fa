"""Where a run takes place: under accelerate, or in one process without it."""

from __future__ import annotations

import contextlib
import importlib.util
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError


class OneProcess:
    """The part of accelerate's ``Accelerator`` that the loop uses, in one process at the weights' own precision.

    For small networks: no autocast, no other processes, and accelerate need not be installed.
    """

    process_index, num_processes, is_main_process = 0, 1, True

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def prepare(self, *parts: Any) -> tuple[Any, ...]:
        return parts

    def no_sync(self, model: nn.Module) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def clip_grad_norm_(self, parameters: Any, norm: float) -> Tensor:
        return nn.utils.clip_grad_norm_(parameters, norm)

    def reduce(self, value: Tensor, reduction: str) -> Tensor:
        return value

    def unwrap_model(self, model: nn.Module, keep_fp32_wrapper: bool = False) -> nn.Module:
        return model

    def free_memory(self) -> None:
        """Nothing to free."""


def accelerated(precision: Literal["auto", "no", "bf16"], device: torch.device | None = None) -> Any:
    """An ``Accelerator`` of this process.

    Args:
        precision: ``bf16`` autocast or ``no``; ``auto`` uses bf16 on a GPU that supports it.
        device: of a model that stays there; if None, accelerate places the model.

    Raises:
        ConfigurationError: accelerate is not installed.
    """
    check_accelerate()
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if precision == "auto":
        on_gpu = torch.cuda.is_available() if device is None else device.type == "cuda"
        precision = "bf16" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    AcceleratorState._reset_state()  # it remembers the precision of an earlier run
    return Accelerator(mixed_precision=precision, device_placement=device is None)


def check_accelerate() -> None:
    """Refuse to train without accelerate.

    Raises:
        ConfigurationError: it is not installed.
    """
    if importlib.util.find_spec("accelerate") is None:
        raise ConfigurationError("training needs accelerate; get it with: pip install accelerate")
