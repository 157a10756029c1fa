"""Some eigenvectors of a symmetric matrix, chosen by its eigenvalues, at a third of the cost of all.

LAPACK's drivers either compute every vector or must be told which before the eigenvalues are known. The cut needs the
eigenvalues first, so its steps are taken one by one: ``A = Q T Qᵀ`` with a tridiagonal ``T``, the eigenvalues of ``T``,
the chosen vectors of ``T`` (Dhillon & Parlett 2004), and ``Q`` times these.

SciPy's own functions for these steps hold Python's lock, so that two inputs could not be factorised at once. Its
LAPACK is therefore called by address.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import torch
from jaxtyping import Float
from numpy.linalg import LinAlgError
from torch import Tensor

WORTHWHILE = 64
"""The width from which this is quicker than ``torch.linalg.eigh``."""


class Tridiagonal:
    """``A = Q T Qᵀ`` in float64, on the CPU.

    Args:
        matrix: symmetric and finite.

    Attributes:
        values: all eigenvalues, ascending.

    Raises:
        numpy.linalg.LinAlgError: LAPACK did not converge, or has other integers than are given to it.
    """

    def __init__(self, matrix: Float[Tensor, "d d"]) -> None:
        d = len(matrix)
        self._reflectors = matrix.detach().to(torch.float64, copy=True).contiguous()  # by columns as by rows
        self._diagonal, self._beside, self._scales = torch.empty(3, d, dtype=torch.float64)
        reduced = (self._diagonal, self._beside, self._scales)
        _with_workspace("dsytrd", b"L", d, self._reflectors, d, *reduced)
        self.values: Float[Tensor, " d"] = self._diagonal.clone()
        _call("dsterf", d, self.values, self._beside.clone())

    def vectors(self, start: int, stop: int) -> Float[Tensor, "d k"]:
        """The eigenvectors of ``values[start:stop]``, as columns.

        Raises:
            numpy.linalg.LinAlgError: LAPACK did not converge.
        """
        d, count = len(self.values), stop - start
        columns = torch.empty(count, d, dtype=torch.float64)
        if count:
            found, values = ctypes.c_int(), torch.empty(d, dtype=torch.float64)
            support = torch.empty(2 * count, dtype=torch.int32)
            work, indices = torch.empty(18 * d, dtype=torch.float64), torch.empty(10 * d, dtype=torch.int32)
            tridiagonal = self._diagonal.clone(), self._beside.clone()  # both are overwritten
            _call(
                *("dstemr", b"V", b"I", d, *tridiagonal, 0.0, 0.0, start + 1, stop, found, values),
                *(columns, d, count, support, 1, work, len(work), indices, len(indices)),
            )
            if found.value != count:
                raise LinAlgError(f"LAPACK found {found.value} of {count} eigenvectors")
            below = self._reflectors[:, 1:], d, self._scales, columns[:, 1:], d  # Q leaves the first entry alone
            _with_workspace("dormqr", b"L", b"N", d - 1, count, d - 1, *below)
        return columns.mT


def _with_workspace(name: str, *arguments: object) -> None:
    """Call a routine that says itself how much memory it works best in."""
    size = torch.empty(1, dtype=torch.float64)
    _call(name, *arguments, size, -1)
    work = torch.empty(int(size), dtype=torch.float64)
    _call(name, *arguments, work, len(work))


def _call(name: str, *arguments: object) -> None:
    """Call a routine with everything by address and its last argument, ``info``, added.

    Raises:
        numpy.linalg.LinAlgError: ``info`` is not 0.
    """
    info = ctypes.c_int()
    kept = [_by_address(argument) for argument in (*arguments, info)]
    _routine(name)(*kept)
    if info.value:
        raise LinAlgError(f"LAPACK's {name} failed with {info.value}")


def _by_address(value: object) -> object:
    match value:
        case Tensor():
            return ctypes.c_void_p(value.data_ptr())
        case bytes():
            return ctypes.c_char_p(value)
        case int():
            return ctypes.byref(ctypes.c_int(value))
        case float():
            return ctypes.byref(ctypes.c_double(value))
        case _:
            return ctypes.byref(value)  # type: ignore[arg-type]


@functools.cache
def _routine(name: str) -> Callable[..., None]:
    from scipy import LowLevelCallable
    from scipy.linalg import cython_lapack

    found = LowLevelCallable.from_cython(cython_lapack, name)
    if "int *" not in found.signature or "int64" in found.signature:
        raise LinAlgError("this LAPACK does not count in integers of 32 bits")
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.CFUNCTYPE(None)(address(found.function, found.signature.encode()))
