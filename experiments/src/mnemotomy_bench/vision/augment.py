"""Augmentations for training classifiers: shifts, flips, and a smaller size at first."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


def shifted(images: Float[Tensor, "n c h w"], padding: int, generator: torch.Generator) -> Float[Tensor, "n c h w"]:
    """A random crop of each image padded by ``padding`` mirrored pixels."""
    if not padding:
        return images
    count, channels, height, width = images.shape
    around = nn.functional.pad(images, (padding,) * 4, mode="reflect")
    top, left = torch.randint(0, 2 * padding + 1, (2, count, 1), generator=generator).to(images.device)
    rows = top + torch.arange(height, device=images.device)
    columns = left + torch.arange(width, device=images.device)
    places = (rows[:, :, None] * around.shape[3] + columns[:, None, :]).view(count, 1, -1)
    return around.flatten(2).gather(2, places.expand(-1, channels, -1)).view_as(images)


def flipped(images: Float[Tensor, "n c h w"], generator: torch.Generator) -> Float[Tensor, "n c h w"]:
    """About half of the images, mirrored left to right."""
    chosen = torch.rand(len(images), generator=generator).to(images.device) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def resized(images: Float[Tensor, "n c h w"], side: int) -> Float[Tensor, "n c side side"]:
    """The images at another size."""
    if images.shape[2:] == (side, side):
        return images
    return nn.functional.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
