"""Dimensional Alignment: how much of the forget set's features lies where the retain set's do (Seo et al. 2025)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.core.errors import DataError


def dimensional_alignment(
    forget: Float[Tensor, "n d"],
    retain: Float[Tensor, "m d"],
    *,
    dimensions: int | None = None,
    explained: float = 0.95,
    centred: bool = False,
) -> float:
    """``DA = ‖Z⁺ V‖² / ‖Z⁺‖²`` with ``V`` the leading eigenvectors of the retain features' second moment.

    In [0, 1]; high if the model sees the forget set like anything else. Appendix B.4.1 of arXiv 2606.14997 only says
    "how well forget-set features align with the retain-set principal subspace", so the size of the subspace and the
    centring are arguments; state them with every result.

    Args:
        forget: features ``Z⁺`` of the examples to forget, as the classifier's head reads them.
        dimensions: of the principal subspace.
        explained: without ``dimensions``, the fewest with this share of the retain features' energy.
        centred: subtract the retain features' mean from both: a covariance instead of the second moment, which the
            paper uses (Eq. 23).

    Raises:
        DataError: a set is empty or not finite, widths differ, or no subspace has that size.
    """
    forget, retain = _checked(forget), _checked(retain)
    if forget.shape[1] != retain.shape[1]:
        raise DataError(f"features of width {forget.shape[1]} and {retain.shape[1]} cannot be aligned; use one layer")
    if centred:
        mean = retain.mean(0)
        forget, retain = forget - mean, retain - mean
    values, vectors = torch.linalg.eigh(retain.mT @ retain)
    size = _size(values, dimensions, explained)
    energy = forget.square().sum()
    return float((forget @ vectors[:, -size:]).square().sum() / energy) if energy > 0 else 1.0


def _size(values: Float[Tensor, " d"], dimensions: int | None, explained: float) -> int:
    """The number of the ascending eigenvalues in the principal subspace."""
    if dimensions is not None:
        if not 1 <= dimensions <= len(values):
            raise DataError(f"the principal subspace has 1 to {len(values)} dimensions, not {dimensions}")
        return dimensions
    if not 0.0 < explained <= 1.0:
        raise DataError(f"a share of the energy must be in (0, 1], not {explained}")
    held = values.clamp_min(0).flip(0).cumsum(0)
    return min(len(values), int((held < explained * held[-1]).sum()) + 1)


def _checked(features: Tensor) -> Float[Tensor, "n d"]:
    features = features.detach().flatten(1).double()
    if not len(features) or not bool(torch.isfinite(features).all()):
        raise DataError("features are missing, NaN or infinite, so they cannot be aligned")
    return features
