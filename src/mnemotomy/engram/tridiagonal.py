"""Some eigenvectors of a symmetric matrix, chosen by its eigenvalues, at a third of the cost of all.

LAPACK's drivers either compute every vector or must be told which before the eigenvalues are known. The cut needs the
eigenvalues first, so its steps are taken one by one: ``A = Q T Qᵀ`` with a tridiagonal ``T``, the eigenvalues of ``T``,
the chosen vectors of ``T`` (Dhillon & Parlett 2004), and ``Q`` times these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

WORTHWHILE = 64
"""The width from which this is quicker than ``torch.linalg.eigh``."""


class Tridiagonal:
    """``A = Q T Qᵀ`` in float64, on the CPU.

    Args:
        matrix: symmetric and finite; the lower triangle is read.

    Attributes:
        values: all eigenvalues, ascending.
    """

    def __init__(self, matrix: Float[Tensor, "d d"]) -> None:
        from scipy.linalg import eigvalsh_tridiagonal, lapack

        copy = np.array(matrix.detach().numpy(), dtype=np.float64, order="F")
        work = int(lapack.dsytrd_lwork(len(copy), lower=1)[0])
        reduced, self._diagonal, self._beside, self._scales, _ = lapack.dsytrd(copy, lower=1, lwork=work, overwrite_a=1)
        self._reflectors = np.asfortranarray(reduced[1:, :-1])
        found = eigvalsh_tridiagonal(self._diagonal, self._beside, check_finite=False, lapack_driver="sterf")
        self.values: Float[Tensor, " d"] = torch.from_numpy(found)

    def vectors(self, start: int, stop: int) -> Float[Tensor, "d k"]:
        """The eigenvectors of ``values[start:stop]``, as columns.

        Raises:
            numpy.linalg.LinAlgError: LAPACK did not converge.
        """
        from scipy.linalg import eigh_tridiagonal, lapack

        if start == stop:
            return torch.empty(len(self.values), 0, dtype=torch.float64)
        options: dict[str, Any] = {"check_finite": False, "lapack_driver": "stemr"}
        _, found = eigh_tridiagonal(self._diagonal, self._beside, select="i", select_range=(start, stop - 1), **options)
        found = np.asfortranarray(found)
        rest = np.asfortranarray(found[1:])
        _, work, _ = lapack.dormqr("L", "N", self._reflectors, self._scales, rest, -1)
        found[1:], _, _ = lapack.dormqr("L", "N", self._reflectors, self._scales, rest, int(work[0]), overwrite_c=1)
        return torch.from_numpy(found)
