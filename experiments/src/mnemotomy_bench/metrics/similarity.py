"""Linear CKA: how alike two models' representations of the same examples are (Kornblith et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterable

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
    x, y = _pair(first, second, at_least=2)
    if max(x.shape[1], y.shape[1]) <= len(x):
        cross, own, other = (x.mT @ y).square().sum(), (x.mT @ x).norm(), (y.mT @ y).norm()
    else:  # the same numbers from [n, n] Gram matrices, where those are smaller
        K, L = x @ x.mT, y @ y.mT
        cross, own, other = (K * L).sum(), K.norm(), L.norm()
    return float(cross / (own * other)) if own > 0 and other > 0 else 0.0


def minibatch_cka(batches: Iterable[tuple[Float[Tensor, "n a"], Float[Tensor, "n b"]]]) -> float:
    """Linear CKA from batches that are never in memory together (Nguyen et al. 2021).

    ``Σ HSIC₁(K, L) / (√Σ HSIC₁(K, K) √Σ HSIC₁(L, L))`` over batches. HSIC₁ is unbiased, so the result does
    not depend on the batch size, except for noise; it may fall a little below 0. All batches have the same weight:
    make them equal in size. 0 if one of the representations is constant.

    Raises:
        DataError: there is no batch, or one has fewer than four rows; and as ``linear_cka``.
    """
    sums = torch.zeros(3, dtype=torch.float64)
    count = 0
    for first, second in batches:
        x, y = _pair(first, second, at_least=4)
        K, L = x @ x.mT, y @ y.mT
        sums += torch.stack([unbiased_hsic(K, L), unbiased_hsic(K, K), unbiased_hsic(L, L)]).cpu()
        count += 1
    if not count:
        raise DataError("there are no batches to compare")
    cross, own, other = sums.tolist()
    return float(cross / (own * other) ** 0.5) if own > 0 and other > 0 else 0.0


def unbiased_hsic(K: Float[Tensor, "n n"], L: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """HSIC₁ of two Gram matrices (Song et al. 2012; Nguyen et al. 2021); ``n`` is at least 4."""
    n = len(K)
    K, L = K.clone().fill_diagonal_(0), L.clone().fill_diagonal_(0)
    traces = (K * L).sum()
    means = K.sum() * L.sum() / ((n - 1) * (n - 2))
    rows = 2 / (n - 2) * (K.sum(0) @ L.sum(1))
    return (traces + means - rows) / (n * (n - 3))


def _pair(first: Tensor, second: Tensor, at_least: int) -> tuple[Tensor, Tensor]:
    """Both as centred rows in float64; HSIC₁ is the same without centring, except for rounding."""
    if len(first) != len(second):
        raise DataError(f"{len(first)} rows cannot be compared with {len(second)}; give both models the same examples")
    if len(first) < at_least:
        raise DataError(f"{len(first)} rows are too few for this form of CKA; give at least {at_least}")
    x, y = first.detach().flatten(1).double(), second.detach().flatten(1).double()
    if not bool(torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise DataError("a feature is NaN or infinite; there is nothing to compare")
    return _centred(x), _centred(y)


def _centred(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    centred = rows - rows.mean(0)
    # constant up to the model's own float32 rounding counts as constant
    return centred if centred.norm() > 1e-6 * rows.norm() else torch.zeros_like(rows)
