"""What a call costs: wall time, and the rise of memory."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Usage:
    """Filled in on exit from ``measured``.

    Attributes:
        seconds: of wall time.
        peak_bytes: the highest rise of the resident set, or of the accelerator's allocations; None where the system
            does not tell.
    """

    seconds: float = 0.0
    peak_bytes: int | None = None


@contextlib.contextmanager
def measured(device: torch.device) -> Iterator[Usage]:
    """Measure time and memory of the block, on ``device``."""
    usage = Usage()
    _set_imports_aside()
    gc.collect()
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before: int | None = torch.cuda.memory_allocated(device)
    else:
        before = _reset_resident()
    start = time.perf_counter()
    try:
        yield usage
    finally:
        if on_gpu:
            torch.cuda.synchronize(device)
        usage.seconds = time.perf_counter() - start
        if before is not None:
            peak = torch.cuda.max_memory_allocated(device) if on_gpu else resident("VmHWM")
            usage.peak_bytes = max(0, peak - before)


@functools.cache
def _set_imports_aside() -> None:
    """Once per process: the garbage collector takes a quarter of a second to scan what imports made."""
    gc.collect()
    gc.freeze()


def _reset_resident() -> int | None:
    """The resident set, after its high-water mark is reset to it (Linux)."""
    try:
        # memory that glibc keeps after a free would be reused unseen
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        RESET.write_text("5")
    except (OSError, AttributeError):
        return None
    return resident("VmRSS")


def resident(field: str) -> int:
    """A field of the process's status, such as ``VmRSS``, in bytes (Linux)."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


@contextlib.contextmanager
def single_threaded() -> Iterator[None]:
    """One thread inside: small matrices gain little from more, and lose tenfold if other work shares the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
