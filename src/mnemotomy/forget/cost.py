"""What a search will take, estimated from shapes and counts before it starts."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.modules import device_of, observing
from mnemotomy.engram.sites import Selector, select_sites

TRIAL = 64
"""Tokens of the forward pass that tells a model's speed."""

_GIB = 2.0**30
_EIGH = 25.0  # operations of an eigendecomposition in float64, by the cube of the width
_READ = 1000.0  # tokens of kept answers and general sentences that a trial reads


@dataclass(frozen=True)
class Cost:
    """An estimate of what is needed besides the model's own weights.

    Attributes:
        moments: bytes for the second moments of both sets, and one factorisation in float64.
        factors: bytes for the thin factors of every site.
        free: bytes that the device has left; None if unknown.
        seconds: in all, at the speed of a trial forward pass.
    """

    moments: float
    factors: float
    free: float | None
    seconds: float

    @property
    def needed(self) -> float:
        """In all."""
        return self.moments + self.factors

    def __str__(self) -> str:
        left = "" if self.free is None else f" of {self.free / _GIB:.1f} GiB free"
        minutes = max(1, round(self.seconds / 60))
        return f"about {minutes} minutes and {self.needed / _GIB:.1f} GiB of memory{left}"

    def check(self) -> None:
        """Refuse what does not fit.

        Raises:
            ConfigurationError: it names ways out.
        """
        if self.free is not None and self.needed > self.free:
            raise ConfigurationError(
                f"this needs {self}; edit fewer projections with --layers or --sites, load the model with --dtype "
                "bfloat16, or use a larger machine"
            )


def cost_of(
    model: nn.Module,
    forget_tokens: int,
    sites: Selector = "all-linear",
    layers: tuple[int, ...] | None = None,
    trials: int = 24,
) -> Cost:
    """The memory of moments and factors, and the time of a search.

    Args:
        model: loaded; it reads ``TRIAL`` tokens to tell its speed.
        forget_tokens: that enter the moments: the rank of the concept, at most.
        sites, layers: as for ``mnemotomy.collect``.
        trials: candidates.
    """
    inputs: dict[tuple[int | None, int], int] = {}
    factors, widest = 0.0, 0
    for site in select_sites(model, sites, layers).values():
        out, width = map(int, site.weight().shape[-2:])
        inputs[(site.layer, width)] = max(inputs.get((site.layer, width), 0), width)
        rank = min(forget_tokens, width)
        factors += 4.0 * rank * (2 * out + width)
        widest = max(widest, width)
    # two sets, the triangle alone, one more while a set is summed; projections of one block and width share an input
    moments = sum(3 * 4.0 * width * (width + 1) / 2 for width in inputs.values()) + 6 * 8.0 * widest**2
    parameters = sum(one.numel() for one in model.parameters())
    speed = 2.0 * parameters * TRIAL / _seconds(model)
    tokens = forget_tokens + 2.0 * widest
    eigen = 2 * _EIGH * sum(width**3 for _, width in inputs)
    # a token's second moments cost about as much as its forward pass; a trial reads what is kept apart
    work = 2.0 * parameters * (2.0 * tokens + trials * (_READ + 3.0 * forget_tokens)) + eigen
    return Cost(moments, factors, free_memory(device_of(model)), work / speed)


def _seconds(model: nn.Module) -> float:
    """The time of one forward pass of ``TRIAL`` tokens, after one to warm up."""
    ids = torch.zeros(1, TRIAL, dtype=torch.long, device=device_of(model))
    with observing(model):
        for _ in range(2):
            start = time.perf_counter()
            model(input_ids=ids)
            if ids.device.type == "cuda":
                torch.cuda.synchronize()
    return max(time.perf_counter() - start, 1e-6)


def free_memory(device: torch.device) -> float | None:
    """Bytes that can still be allocated; None if unknown."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    found = _meminfo()
    if "MemAvailable" in found:
        return found["MemAvailable"]
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return None


def _meminfo() -> Mapping[str, float]:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            rows = (line.split() for line in file)
            return {row[0].rstrip(":"): 1024.0 * float(row[1]) for row in rows if len(row) >= 2}
    except (OSError, ValueError):
        return {}
