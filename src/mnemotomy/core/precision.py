"""bfloat16 where it is fast: on GPUs and on processors with instructions for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from mnemotomy.core.errors import ConfigurationError

Precision = Literal["auto", "no", "bf16"]


def check_precision(precision: str) -> None:
    """Refuse an unknown precision.

    Raises:
        ConfigurationError: it is not a ``Precision``.
    """
    if precision not in get_args(Precision):
        raise ConfigurationError(f"precision is 'auto', 'no' or 'bf16', not {precision!r}")


def resolved(precision: Precision, device: torch.device) -> Precision:
    """``bf16`` or ``no`` in place of ``auto``."""
    if precision != "auto":
        return precision
    native = device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16" if native else "no"


@contextlib.contextmanager
def autocast(device: torch.device, precision: Precision = "auto", *, backward: bool = False) -> Iterator[None]:
    """Forward passes in bfloat16, or at the weights' precision.

    With ``backward``, weights may change inside, and attention on a processor uses plain products: the blockwise
    backward of torch 2.13 takes as long as the rest of a small model.
    """
    if resolved(precision, device) == "no":
        yield
        return
    plain = sdpa_kernel(SDPBackend.MATH) if backward and device.type == "cpu" else contextlib.nullcontext()
    # autocast's cache would keep the weights of the first step
    with torch.autocast(device.type, torch.bfloat16, cache_enabled=not backward), plain:
        yield
