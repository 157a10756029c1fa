"""Sums over the rows of one input: ``Σ = Xᵀ X``, the row sum and the count. Additive over any split of the data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.engram.products import pack, unpack

_SMALLEST_SQUARE = 1e-30  # a cut of 1e-6 and float32's precision of 1e-7 above float32's smallest number


class SecondMoment:
    """The second moment of one input over the rows of one concept.

    Σ is symmetric: ``from_triangle`` keeps the upper triangle only, and ``second`` restores the matrix on demand.

    Args:
        second: ``[d, d]``; ``[groups, d, d]`` for grouped convolutions; ``[size]``, a diagonal, for one-hot rows.
        first: the sum of the rows, ``[d]`` or ``[groups, d]``: the border of Σ when the input is extended by 1.
            Empty for one-hot rows.
        count: the number of rows ``N``.
    """

    def __init__(self, second: Tensor, first: Tensor, count: int) -> None:
        self.first = first
        self.count = count
        self.shape = tuple(second.shape)
        self._stored = second
        self._packed = second.dim() == 1

    @classmethod
    def from_triangle(cls, triangle: Tensor, shape: Sequence[int], first: Tensor, count: int) -> SecondMoment:
        """From ``triangle`` and the shape of ``second``.

        Raises:
            ValueError: the numbers are not a triangle of a matrix of this shape.
        """
        d = shape[-1]
        if triangle.shape[-1] != (d if len(shape) == 1 else d * (d + 1) // 2):
            raise ValueError(f"{triangle.shape[-1]} numbers are not a triangle of {list(shape)}")
        moment = cls(triangle, first, count)
        moment.shape, moment._packed = tuple(shape), True
        return moment

    @property
    def second(self) -> Tensor:
        """Σ itself; a copy if it is packed."""
        return unpack(self._stored, self.shape) if self._packed else self._stored

    @property
    def triangle(self) -> Tensor:
        """The upper triangle of Σ row by row, ``[*groups, d (d + 1) / 2]``; a diagonal as it is."""
        return self._stored if self._packed else pack(self._stored)

    @property
    def diagonal(self) -> bool:
        """Whether ``second`` is only the diagonal."""
        return len(self.shape) == 1

    @property
    def finite(self) -> bool:
        """Whether no sum is NaN or infinite."""
        stored = self._stored
        return bool(stored.sum().isfinite()) or bool(stored.isfinite().all())  # the total may overflow alone

    @property
    def vanishing(self) -> bool:
        """Whether rows are not zero but their squares underflow in float32."""
        if self._stored.dtype != torch.float32 or self.diagonal:
            return False
        largest = float(self._stored.max())  # on the diagonal, as Σ is positive semidefinite
        return largest < _SMALLEST_SQUARE and (largest > 0.0 or bool(self.first.any()))

    def rounded(self, dtype: torch.dtype) -> SecondMoment:
        """The same in ``dtype``; itself if it already is."""
        if self._stored.dtype == dtype:
            return self
        return SecondMoment.from_triangle(self.triangle.to(dtype), self.shape, self.first.to(dtype), self.count)

    def extended(self, bias: bool) -> Float[Tensor, "*groups d d"]:
        """Σ; with ``bias``, of rows extended by 1, as a site with a bias column needs it."""
        second = self.second
        if not bias or self.diagonal:
            return second
        d = second.shape[-1]
        extended = second.new_empty(*second.shape[:-2], d + 1, d + 1)
        extended[..., :d, :d] = second
        extended[..., :d, d] = self.first
        extended[..., d, :d] = self.first
        extended[..., d, d] = self.count
        return extended

    @classmethod
    def of_all(cls, moments: Sequence[SecondMoment]) -> SecondMoment:
        """The sum of one or more; a single one is returned itself."""
        if len(moments) == 1:
            return moments[0]
        triangle, first = moments[0].triangle + moments[1].triangle, moments[0].first + moments[1].first
        for moment in moments[2:]:
            triangle += moment.triangle
            first += moment.first
        return cls.from_triangle(triangle, moments[0].shape, first, sum(moment.count for moment in moments))

    def times(self, count: int) -> SecondMoment:
        """The moment of the same rows, each ``count`` times."""
        return SecondMoment.from_triangle(self.triangle * count, self.shape, self.first * count, self.count * count)

    def __add__(self, other: SecondMoment) -> SecondMoment:
        return self.of_all([self, other])

    def zeros_like(self) -> SecondMoment:
        """The moment of no rows."""
        return SecondMoment.from_triangle(torch.zeros_like(self.triangle), self.shape, torch.zeros_like(self.first), 0)

    def to(self, device: torch.device | str) -> SecondMoment:
        """The same on another device."""
        triangle, first = self.triangle.to(device), self.first.to(device)
        return SecondMoment.from_triangle(triangle, self.shape, first, self.count)
