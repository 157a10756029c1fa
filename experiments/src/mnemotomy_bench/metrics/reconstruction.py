"""How far an autoencoder's images are from the originals, class by class (Fig. 5)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mnemotomy.core.errors import DataError


def class_reconstruction_errors(
    reconstructed: Float[Tensor, " n *shape"],
    images: Float[Tensor, " n *shape"],
    labels: Int[Tensor, " n"],
    classes: int,
) -> Float[Tensor, " classes"]:
    """The mean squared error per pixel, averaged over each class's images; NaN for a class without any.

    Raises:
        DataError: shapes differ, or a label is not in ``0 … classes − 1``.
    """
    if reconstructed.shape != images.shape or len(labels) != len(images):
        raise DataError(
            f"images of shape {list(images.shape)} came with reconstructions of shape {list(reconstructed.shape)} and "
            f"{len(labels)} labels"
        )
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise DataError(f"label {int(outside[0])} is not in 0 … {classes - 1}")
    errors = (reconstructed - images).detach().double().square().flatten(1).mean(1)
    sums = torch.zeros(classes, dtype=errors.dtype, device=errors.device).index_add_(0, labels.long(), errors)
    return (sums / torch.bincount(labels, minlength=classes)).float()
