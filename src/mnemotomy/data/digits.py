"""scikit-learn's handwritten digits: 1,797 real 8×8 images, no download."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mnemotomy.core.errors import DataError


@dataclass(frozen=True)
class Split:
    """Images in [0, 1] as rows of 64 pixels, and the digit that each shows."""

    images: Float[Tensor, "n 64"]
    labels: Int[Tensor, " n"]


def load_digits(seed: int = 0, test_share: float = 0.3) -> tuple[Split, Split]:
    """A stratified split of the digits into training and test images.

    Raises:
        DataError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as bundled
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise DataError("the digits come with scikit-learn: pip install scikit-learn") from error
    data = bundled()
    images = torch.from_numpy(data.images).float().flatten(1) / 16.0
    labels = torch.from_numpy(data.target).long()
    train, test = train_test_split(range(len(labels)), test_size=test_share, stratify=data.target, random_state=seed)
    return Split(images[train], labels[train]), Split(images[test], labels[test])
