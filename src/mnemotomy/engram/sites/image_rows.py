"""Σ of a 3 × 3 convolution without its patches: rows of the image against rows, at a third of the work."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

KERNEL = (3, 3)


def patch_moments(images: Float[Tensor, "B C H W"]) -> tuple[Float[Tensor, "d d"], Float[Tensor, " d"]]:
    """The second moment and the sum of all patches of 3 × 3 pixels at stride 1, under one ring of zeros.

    A patch is three pieces ``u``, one of each row of the image, of three pixels side by side. A block of Σ sums
    ``u u'ᵀ`` over pairs of rows, and how far these are apart alone tells which; but that the upper pieces never see the
    last row, nor the lower ones the first:

        Σ = [[G₀ − L, G₁, G₂], [G₁ᵀ, G₀, G₁], [G₂ᵀ, G₁ᵀ, G₀ − F]],

    with ``G_r`` the sum over all pairs of rows ``r`` apart, and ``F`` and ``L`` what the first and last rows add to
    ``G₀``. Three products of width 3C take the place of one of width 9C, and a third of the copies.

    Returns:
        both with ``d = 9C``, the kernel's places slowest, channels fastest.
    """
    channels, width = images.shape[1], images.shape[-1]
    padded = F.pad(images.movedim(1, -1), (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(2, 3, 1).movedim(-1, -2).flatten(-2)
    pieces = windows.contiguous()  # [B, H + 2, W, 3C], a view that overlaps until here
    first, last = (pieces[:, row].reshape(-1, 3 * channels) for row in (1, -2))
    every = pieces.view(-1, 3 * channels)
    # the rows of zeros above and below keep images apart, so that all pairs are two stretches of one matrix
    apart = [every[: len(every) - row * width].T @ every[row * width :] for row in range(3)]
    second = torch.stack([
        torch.cat([apart[0] - last.T @ last, apart[1], apart[2]], dim=1),
        torch.cat([apart[1].T, apart[0], apart[1]], dim=1),
        torch.cat([apart[2].T, apart[1].T, apart[0] - first.T @ first], dim=1),
    ])  # fmt: skip
    total = every.sum(0)
    return second.flatten(0, 1), torch.cat([total - last.sum(0), total, total - first.sum(0)])
