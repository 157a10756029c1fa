"""Linear CKA: how alike two models' representations of the same examples are (Kornblith et al. 2019)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.core.errors import DataError


def linear_cka(first: Float[Tensor, "n a"], second: Float[Tensor, "n b"]) -> float:
    """``‖Yᵀ X‖² / (‖Xᵀ X‖ ‖Yᵀ Y‖)`` of centred features, row by row of the same examples.

    In [0, 1]; unchanged by rotations and by a common factor. 0 if one of them is constant. Further dimensions are
    flattened.

    Raises:
        DataError: the rows differ in number, there are fewer than two, or a feature is not finite.
    """
    x, y = _pair(first, second)
    if max(x.shape[1], y.shape[1]) <= len(x):
        cross, own, other = (x.mT @ y).square().sum(), (x.mT @ x).norm(), (y.mT @ y).norm()
    else:  # the same numbers from [n, n] Gram matrices, where those are smaller
        K, L = x @ x.mT, y @ y.mT
        cross, own, other = (K * L).sum(), K.norm(), L.norm()
    return float(cross / (own * other)) if own > 0 and other > 0 else 0.0


def _pair(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both as centred rows in float64."""
    if len(first) != len(second):
        raise DataError(f"{len(first)} rows cannot be compared with {len(second)}; give both models the same examples")
    if len(first) < 2:
        raise DataError(f"{len(first)} rows are too few for CKA; give at least 2")
    x, y = first.detach().flatten(1).double(), second.detach().flatten(1).double()
    if not bool(torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise DataError("a feature is NaN or infinite; there is nothing to compare")
    return _centred(x), _centred(y)


def _centred(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    centred = rows - rows.mean(0)
    # constant up to the model's own float32 rounding counts as constant
    return centred if centred.norm() > 1e-6 * rows.norm() else torch.zeros_like(rows)
