"""How a layer's input tensor becomes rows: the last dimension, image patches, or token indices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MANY_ROWS = 16  # times as many rows as columns
_HIGH = 6  # pixels; below this the rows of zeros that ``patch_moments`` adds cost more than it saves


class Layout(Protocol):
    """A hashable description of how rows are cut out of an input; equal layouts of one tensor give equal rows."""

    @property
    def batched(self) -> bool:
        """Whether the input's first dimension is always the batch (images), so that it may be split into chunks."""

    @property
    def groups(self) -> int:
        """The number of blocks of each row; more than 1 for grouped convolutions."""

    def rows(self, tensor: Tensor) -> Tensor:
        """Rows with the input's leading dimensions in front: ``[..., d]``, or ``[..., groups, d]`` when grouped."""

    def quick_rows(self, tensor: Tensor) -> Tensor | None:
        """The same rows with their entries in an order that is quicker to cut out; None if there is none."""

    def quick_moments(self, tensor: Tensor) -> tuple[Tensor, Tensor] | None:
        """The sums of ``quick_rows`` and of their products without cutting them; None if that is not quicker."""

    def sampled_rows(self, tensor: Tensor, count: int, generator: torch.Generator) -> Tensor | None:
        """``count`` of each example's ``rows``, drawn separately; None if there are no more than that."""

    def in_order(self, sums: Tensor) -> Tensor:
        """A sum ``[d]`` or ``[d, d]`` over ``quick_rows`` in the order of ``rows``."""

    def expansion(self) -> int:
        """How many times larger than the input the rows are; chunks must allow for it."""

    def positions(self, tensor: Tensor) -> int | None:
        """The number of rows along a sequence, if the first of them are its positions; else None."""


class _OneOrder:
    """A layout whose rows are cut in one way."""

    def quick_rows(self, tensor: Tensor) -> None:
        return None

    def quick_moments(self, tensor: Tensor) -> None:
        return None

    def sampled_rows(self, tensor: Tensor, count: int, generator: torch.Generator) -> None:
        return None

    def in_order(self, sums: Tensor) -> Tensor:
        return sums

    def positions(self, tensor: Tensor) -> None:
        return None


@dataclass(frozen=True)
class LastDimension(_OneOrder):
    """Every vector along the last dimension is a row: linear layers."""

    batched: bool = False
    groups: int = 1

    def rows(self, tensor: Float[Tensor, "*lead d"]) -> Float[Tensor, "*lead d"]:
        return tensor

    def expansion(self) -> int:
        return 1


@dataclass(frozen=True)
class OneHot(_OneOrder):
    """Every index is a one-hot row of length ``size``, and Σ a diagonal of counts: embeddings."""

    size: int
    batched: bool = False
    groups: int = 1

    def rows(self, tensor: Tensor) -> Tensor:
        return tensor

    def expansion(self) -> int:
        return 1


@dataclass(frozen=True)
class Patches:
    """Receptive fields of a convolution as rows: ``x [B, C, *size]`` to ``[B, positions, (groups,) C/groups * k]``.

    Attributes:
        kernel, stride, dilation: of each spatial dimension.
        padding: before and after, last dimension first, as ``torch.nn.functional.pad`` takes it; may be negative.
        mode: ``constant``, ``reflect``, ``replicate`` or ``circular``.
        groups: rows of grouped convolutions carry one block per group.
        upsample: the input is first spread by this stride with zeros between (transposed convolutions); 1 does nothing.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    mode: str = "constant"
    groups: int = 1
    upsample: tuple[int, ...] = ()
    batched: bool = True

    def rows(self, tensor: Tensor) -> Tensor:
        x = self._windows(self._padded(tensor), first=2)
        # [B, C, *positions, *kernel] -> [B, positions, C * kernel], channels slowest as in the weight
        spatial = len(self.kernel)
        order = (0, *range(2, 2 + spatial), 1, *range(2 + spatial, 2 + 2 * spatial))
        x = x.permute(order).reshape(x.shape[0], -1, x.shape[1] * _product(self.kernel))
        return x.unflatten(-1, (self.groups, -1)) if self.groups > 1 else x

    def quick_rows(self, tensor: Tensor) -> Tensor | None:
        """Channels fastest, so that they are copied together, if there are enough rows to make up for ``in_order``.

        Cutting them takes a third to a tenth of the time.
        """
        kernel, width = _product(self.kernel), _product(self.kernel) * tensor.shape[1]
        x = self._padded(tensor).movedim(1, -1)
        if self.groups > 1 or kernel == 1 or self._windows(x, first=1).numel() < MANY_ROWS * width**2:
            return None
        windows = self._windows(x.contiguous(), first=1)  # [B, *positions, C, *kernel]
        return windows.movedim(1 + len(self.kernel), -1).reshape(x.shape[0], -1, width)

    def quick_moments(self, tensor: Tensor) -> tuple[Tensor, Tensor] | None:
        """For 3 × 3 kernels that keep the size of images, if these are large and many enough to be worth it."""
        usual = replace(self, upsample=()) == Patches(KERNEL, (1, 1), (1, 1), (1, 1, 1, 1)) and not self._spreads
        if not usual or tensor.shape[2] < _HIGH or 2 * tensor[:, 0].numel() < _product(self.kernel) * tensor.shape[1]:
            return None
        return patch_moments(tensor)

    def sampled_rows(self, tensor: Tensor, count: int, generator: torch.Generator) -> Tensor | None:
        spatial = len(self.kernel)
        windows = self._windows(self._padded(tensor), first=2).movedim(1, 1 + spatial)  # [B, *positions, C, *kernel]
        positions = windows.shape[1 : 1 + spatial]
        if count >= _product(positions):
            return None
        drawn = torch.rand(len(tensor), _product(positions), generator=generator).argsort(dim=1)[:, :count]
        places = torch.unravel_index(drawn.to(tensor.device), positions)
        rows = windows[torch.arange(len(tensor), device=tensor.device)[:, None], *places].flatten(2)
        return rows.unflatten(-1, (self.groups, -1)) if self.groups > 1 else rows

    def in_order(self, sums: Tensor) -> Tensor:
        for axis in range(sums.dim()):
            sums = sums.unflatten(axis, (_product(self.kernel), -1)).transpose(axis, axis + 1).flatten(axis, axis + 1)
        return sums

    def _padded(self, tensor: Tensor) -> Tensor:
        x = self._spread(tensor)
        return F.pad(x, self.padding, mode=self.mode) if any(self.padding) else x

    def _windows(self, x: Tensor, first: int) -> Tensor:
        """A view with the kernel's dimensions last, of an input whose spatial dimensions begin at ``first``."""
        for axis, (size, stride, dilation) in enumerate(zip(self.kernel, self.stride, self.dilation, strict=True)):
            x = x.unfold(first + axis, (size - 1) * dilation + 1, stride)[..., ::dilation]
        return x

    def expansion(self) -> int:
        return max(1, _product(self.kernel) * _product(self.upsample or (1,)) // _product(self.stride))

    def positions(self, tensor: Float[Tensor, "batch channels length"]) -> int | None:
        if len(self.kernel) != 1 or self.stride != (1,) or self._spreads:
            return None
        reach, length = (self.kernel[0] - 1) * self.dilation[0], tensor.shape[-1]
        found = length + sum(self.padding) - reach
        return found if found == length or (self.padding[0] == reach and found > length) else None

    @property
    def _spreads(self) -> bool:
        return bool(self.upsample) and _product(self.upsample) > 1

    def _spread(self, x: Tensor) -> Tensor:
        if not self._spreads:
            return x
        sizes = [(n - 1) * step + 1 for n, step in zip(x.shape[2:], self.upsample, strict=True)]
        spread = x.new_zeros(*x.shape[:2], *sizes)
        spread[(slice(None), slice(None), *(slice(None, None, step) for step in self.upsample))] = x
        return spread


def _product(values: tuple[int, ...]) -> int:
    return int(torch.Size(values).numel())


KERNEL = (3, 3)


def patch_moments(images: Float[Tensor, "B C H W"]) -> tuple[Float[Tensor, "d d"], Float[Tensor, " d"]]:
    """The second moment and the sum of all patches of 3 × 3 pixels at stride 1, padded by one ring of zeros.

    A patch is three pieces ``u`` of three adjacent pixels, one from each of three image rows. A block of Σ sums
    ``u u'ᵀ`` over pairs of rows and depends only on their distance, except that upper pieces never see the last row
    and lower pieces never see the first:

        Σ = [[G₀ − L, G₁, G₂], [G₁ᵀ, G₀, G₁], [G₂ᵀ, G₁ᵀ, G₀ − F]],

    with ``G_r`` the sum over all pairs of rows ``r`` apart, and ``F`` and ``L`` the contributions of the first and last
    rows to ``G₀``. Three products of width 3C replace one of width 9C, with a third of the copies.

    Returns:
        both with ``d = 9C``: kernel positions slowest, channels fastest.
    """
    channels, width = images.shape[1], images.shape[-1]
    padded = F.pad(images.movedim(1, -1), (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(2, 3, 1).movedim(-1, -2).flatten(-2)
    pieces = windows.contiguous()  # [B, H + 2, W, 3C], copied from an overlapping view
    first, last = (pieces[:, row].reshape(-1, 3 * channels) for row in (1, -2))
    every = pieces.view(-1, 3 * channels)
    # rows of zeros separate the images, so that all pairs are two slices of one matrix
    apart = [every[: len(every) - row * width].T @ every[row * width :] for row in range(3)]
    second = torch.stack([
        torch.cat([apart[0] - last.T @ last, apart[1], apart[2]], dim=1),
        torch.cat([apart[1].T, apart[0], apart[1]], dim=1),
        torch.cat([apart[2].T, apart[1].T, apart[0] - first.T @ first], dim=1),
    ])  # fmt: skip
    total = every.sum(0)
    return second.flatten(0, 1), torch.cat([total - last.sum(0), total, total - first.sum(0)])
