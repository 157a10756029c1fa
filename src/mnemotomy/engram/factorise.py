"""``factorise``: Σ_total once for all engrams, by the cheapest factors that the cut allows.

If no direction falls below the cut, the pseudoinverse is an inverse and a Cholesky factor suffices, at a twentieth of
the cost of an eigendecomposition. If few do, they are found and taken out first; if most do, ``S = U Λ^½`` of the rest.
"""

from __future__ import annotations

import contextlib
import math

import torch
from jaxtyping import Float
from numpy.linalg import LinAlgError
from torch import Tensor

from mnemotomy.core.errors import NonFiniteError
from mnemotomy.engram.cut import Cut, RelativeCut
from mnemotomy.engram.spectrum import (
    CholeskySpectrum,
    DeflatedSpectrum,
    DiagonalSpectrum,
    EigenSpectrum,
    LivingSpectrum,
    Spectrum,
)
from mnemotomy.engram.tridiagonal import WORTHWHILE, Tridiagonal

WELL_CONDITIONED = 1e2
"""Up to this condition number float32 keeps an engram to 1e-4; beyond, the solve is in float64."""


def factorise(total: Tensor, cut: Cut, precision: torch.dtype | None = None) -> Spectrum:
    """Factorise Σ_total.

    Args:
        total: ``[d, d]``, ``[groups, d, d]`` or a diagonal ``[d]``.
        cut: which eigendirections to keep; decided on the same matrix whatever the precision.
        precision: of the factorisation and the products; by default float32 if the condition number allows, else
            float64, as float32's error of 1e-7 λ_max is not small next to eigenvalues near the cut.

    Raises:
        NonFiniteError: Σ_total is not finite.
    """
    bound = float(torch.linalg.vector_norm(total, dtype=torch.float64))  # at least λ_max, and rarely twice that
    if not math.isfinite(bound):
        raise NonFiniteError("Σ_total is not finite, so the moments are damaged; collect them again")
    if total.dim() == 1:
        return DiagonalSpectrum(total if precision is None else total.to(precision), cut)
    ratio = cut.ratio_at(total.shape[-1])
    if total.dim() == 2 and ratio is not None:
        living = total.diagonal().nonzero()[:, 0]
        if 0 < len(living) < len(total):
            whole = total.index_select(0, living).index_select(1, living)
            return LivingSpectrum(factorise(whole, RelativeCut(ratio), precision), living, len(total))
        fits = 1e-15 < bound < 1e15  # beyond, squares leave the range of float32
        for dtype in (*((torch.float32,) if fits else ()), torch.float64) if precision is None else (precision,):
            floor = max(ratio, 1 / WELL_CONDITIONED) if dtype == torch.float32 else ratio
            if _exceeds(total, floor * bound, dtype):
                return CholeskySpectrum(torch.linalg.cholesky(total.to(dtype)))
    total = total.to(precision or torch.float64)
    if total.dim() == 2 and len(total) >= WORTHWHILE and total.is_cpu and total.dtype == torch.float64:
        with contextlib.suppress(LinAlgError):
            return _by_part(total, cut)
    return EigenSpectrum.of(total, cut)


def _by_part(total: Float[Tensor, "d d"], cut: Cut) -> Spectrum:
    """From the eigenvectors on one side of the cut only, the side that has fewer.

    Raises:
        LinAlgError: LAPACK failed.
    """
    whole = Tridiagonal(total)
    width, rank = len(total), int(cut.keep(whole.values).sum())
    first = width - rank
    if 2 * rank <= width:
        return EigenSpectrum(whole.values[first:], whole.vectors(first, width))
    return DeflatedSpectrum(total, whole.values[:first], whole.vectors(0, first), float(whole.values[first]))


def _exceeds(total: Float[Tensor, "d d"], floor: float, dtype: torch.dtype) -> bool:
    """Whether every eigenvalue is above ``floor``: Cholesky then succeeds on ``Σ − floor · I``."""
    if bool((total.diagonal() <= floor).any()):  # the smallest eigenvalue is at most the smallest diagonal entry
        return False
    shifted = total.to(dtype, copy=True)
    shifted.diagonal().sub_(floor)
    return int(torch.linalg.cholesky_ex(shifted).info) == 0
