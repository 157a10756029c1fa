"""``Σ += Xᵀ X`` at nearly half the work of a general product, and at full float32 precision."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

_LEAF = 256  # columns; below this a plain product is faster than two halves
_GATHERED = 1536  # columns; above this, copying row by row is as fast as a gather and needs no indices


def add_gram_(upper: Float[Tensor, "d d"], rows: Float[Tensor, "n d"]) -> None:
    """Add ``rowsᵀ rows`` to the upper triangle of ``upper``; below the diagonal the result is undefined.

    The matrix is symmetric, so each off-diagonal block is computed once: 9/16 of the work at d = 1024.
    ``mirror_`` completes it.
    """
    d = rows.shape[1]
    if d <= _LEAF:
        upper.addmm_(rows.T, rows)
        return
    half = d // 2
    left, right = rows[:, :half], rows[:, half:]
    add_gram_(upper[:half, :half], left)
    add_gram_(upper[half:, half:], right)
    upper[:half, half:].addmm_(left.T, right)


def mirror_(matrix: Float[Tensor, "*batch d d"]) -> None:
    """Copy the upper triangle below the diagonal, in strips to avoid a second matrix."""
    d = matrix.shape[-1]
    for start in range(0, d, _LEAF):
        stop = min(start + _LEAF, d)
        matrix[..., stop:, start:stop] = matrix[..., start:stop, stop:].mT
        block = matrix[..., start:stop, start:stop]
        block.copy_(block.triu() + block.triu(1).mT)


def pack(matrix: Float[Tensor, "*groups d d"]) -> Float[Tensor, "*groups packed"]:
    """The upper triangle row by row, ``[*groups, d (d + 1) / 2]``; a diagonal as it is."""
    if matrix.dim() == 1:
        return matrix
    d = matrix.shape[-1]
    if d > _GATHERED:
        return torch.cat([matrix[..., i, i:] for i in range(d)], dim=-1)
    return matrix.flatten(-2).index_select(-1, _places(d, matrix.device)[0])


def unpack(packed: Float[Tensor, "*groups packed"], shape: Sequence[int]) -> Float[Tensor, "*groups d d"]:
    """The inverse of ``pack``, given the shape of the matrix."""
    if len(shape) == 1:
        return packed
    d = shape[-1]
    if d <= _GATHERED:
        return packed.index_select(-1, _places(d, packed.device)[1]).unflatten(-1, (d, d))
    matrix = packed.new_empty(*shape)
    start = 0
    for i in range(d):
        matrix[..., i, i:] = packed[..., start : start + d - i]
        start += d - i
    mirror_(matrix)
    return matrix


@functools.lru_cache(maxsize=16)
def _places(d: int, device: torch.device) -> tuple[Int[Tensor, " packed"], Int[Tensor, " d_squared"]]:
    """The place of each entry of the triangle in the matrix, and of each entry of the matrix in the triangle."""
    with torch.inference_mode(False):  # cached for calls that may be outside of it
        row, column = torch.triu_indices(d, d, device=device, dtype=torch.int32)
        inside = row * d + column
        matrix = torch.empty(d, d, device=device, dtype=torch.int32)
        matrix.view(-1)[inside] = torch.arange(len(inside), device=device, dtype=torch.int32)
        mirror_(matrix)
    return inside, matrix.flatten()


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """float32 products in float32: arithmetic coarser than the cut is off inside.

    That is TF32, bfloat16 shortcuts, and an autocast around the call. A caller's ``forward`` may still enter one.
    """
    with contextlib.ExitStack() as stack:
        for device in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
        stack.enter_context(_products_in("ieee", *backends))
        yield


def products_of(rows: Tensor) -> contextlib.AbstractContextManager[None]:
    """float32 products of ``rows``, by a processor's bfloat16 instructions if the rows are bfloat16.

    Two such values have 8 bits each, their product 16, and sums are float32 either way: no extra rounding, in little
    more than half the time.
    """
    if rows.dtype is not torch.bfloat16 or rows.device.type != "cpu" or not has_bfloat16():
        return contextlib.nullcontext()
    return _products_in("bf16", torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]


@functools.cache
def has_bfloat16() -> bool:
    """Whether this processor multiplies matrices of bfloat16 by instructions of its own."""
    found = torch.cpu.get_capabilities()
    return bool(found.get("amx_bf16") or found.get("avx512_bf16"))


@contextlib.contextmanager
def _products_in(precision: str, *backends: Any) -> Iterator[None]:
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = precision
        yield
    finally:
        for backend, own in zip(backends, before, strict=True):
            backend.fp32_precision = own
