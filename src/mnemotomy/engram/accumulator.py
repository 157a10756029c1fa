"""Running sums over the rows of one input: products in float32 or float64, sums in float64.

Over thousands of batches, a row that is in all of them (an attention sink) is rounded the same way each time: float32
sums would drift by a part in a thousand over 10,000 batches. The sums are kept as strips of the upper triangle, so that
float64 takes no more memory than a whole float32 matrix, and no more time: each strip is added while it is still in the
processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from mnemotomy.engram.products import add_gram_, mirror_, pack, products_of, unpack
from mnemotomy.engram.second_moment import SecondMoment
from mnemotomy.engram.sites.layout import Layout, OneHot

CHUNK_BYTES = 64 * 2**20  # the most memory for patches at a time
_STRIP, _NARROW_STRIP = 256, 128  # rows of the triangle; wider strips waste work below the diagonal
_NARROW = 1024  # columns; from here on, narrow strips multiply slower


@dataclass(frozen=True)
class Sampling:
    """At most ``count`` rows of each example, drawn by ``generator`` if a layout makes more."""

    count: int
    generator: torch.Generator


class Accumulator:
    """The second moment of one input over the rows of one concept, while rows are added.

    Args:
        shape: of Σ: ``[d, d]``; ``[groups, d, d]`` for grouped convolutions; ``[size]``, a diagonal, for one-hot rows.
        dtype: of products, float32 or float64; the sums are float64 either way.
        device: of the sums.
    """

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        self.shape, self.dtype, self.count = tuple(shape), dtype, 0
        self.first = torch.zeros(0 if len(shape) == 1 else self.shape[:-1], dtype=torch.float64, device=device)
        self._height = _NARROW_STRIP if self.shape[-1] < _NARROW else _STRIP
        self._strips = [
            torch.zeros(self._strip_shape(start), dtype=torch.float64, device=device) for start in self._starts()
        ]

    @classmethod
    def of(cls, moment: SecondMoment, dtype: torch.dtype) -> Accumulator:
        """Continues from ``moment``."""
        found = cls(moment.shape, dtype, moment.first.device)
        found.count = moment.count
        found.first += moment.first
        found._add_matrix(unpack(moment.triangle, moment.shape))
        return found

    @property
    def diagonal(self) -> bool:
        """Whether rows are one-hot."""
        return len(self.shape) == 1

    @property
    def finite(self) -> bool:
        """Whether no sum is NaN or infinite."""
        return all(bool(strip.sum().isfinite()) for strip in self._strips) and bool(self.first.isfinite().all())

    def moment(self, dtype: torch.dtype) -> SecondMoment:
        """The sums so far, rounded once to ``dtype``."""
        if self.diagonal:
            return SecondMoment(self._strips[0].to(dtype), self.first.to(dtype), self.count)
        matrix = self.first.new_empty(self.shape, dtype=dtype)
        for start, strip in zip(self._starts(), self._strips, strict=True):
            matrix[..., start : start + strip.shape[-2], start:] = strip
        return SecondMoment.from_triangle(pack(matrix), self.shape, self.first.to(dtype), self.count)

    def add_rows(self, rows: Tensor) -> None:
        """Add ``[N, d]`` or ``[N, groups, d]`` rows, or ``[N]`` indices of one-hot rows."""
        self.count += rows.shape[0]
        if self.diagonal:
            self._strips[0] += torch.bincount(rows, minlength=self.shape[0])
            return
        rows = rows.to(self.dtype)  # exact for bfloat16 and float16 activations
        self.first += rows.sum(0)
        columns = rows.transpose(0, 1) if rows.dim() == 3 else rows
        for start, strip in zip(self._starts(), self._strips, strict=True):
            strip.add_(columns[..., start : start + strip.shape[-2]].mT @ columns[..., start:])

    def add_sums(self, second: Tensor, first: Tensor, count: int) -> None:
        """Add the upper triangle of ``Xᵀ X`` and the sum of ``count`` rows."""
        self.count += count
        self.first += first
        self._add_matrix(second)

    def _add_matrix(self, second: Tensor) -> None:
        if self.diagonal:
            self._strips[0] += second
            return
        for start, strip in zip(self._starts(), self._strips, strict=True):
            strip.add_(second[..., start : start + strip.shape[-2], start:])

    def _starts(self) -> range:
        return range(1) if self.diagonal else range(0, self.shape[-1], self._height)

    def _strip_shape(self, start: int) -> tuple[int, ...]:
        if self.diagonal:
            return self.shape
        d = self.shape[-1]
        return (*self.shape[:-2], min(self._height, d - start), d - start)


def nothing_yet(layout: Layout, example: Tensor, dtype: torch.dtype) -> Accumulator:
    """Empty sums in the shape for inputs like ``example`` with this layout."""
    if isinstance(layout, OneHot):
        return Accumulator((layout.size,), dtype, example.device)
    width = layout.rows(example[:1]).shape[-1]
    return Accumulator((*((layout.groups,) if layout.groups > 1 else ()), width, width), dtype, example.device)


def add_input_(
    sums_of: Callable[[int], Accumulator],
    layout: Layout,
    tensor: Tensor,
    concepts: int | Int[Tensor, "*lead"],
    sampling: Sampling | None = None,
) -> None:
    """Add the rows of one input, each to the moment of its concept.

    Args:
        sums_of: the sums of a concept, by its index.
        layout: how rows are cut out of ``tensor``.
        tensor: the input.
        concepts: one concept for all rows, or the concept of each row (−1 for none) in the shape of the rows' leading
            dimensions. If the layout makes several rows of one example: a concept for each example or each position.
        sampling: of several rows of one example; all by default.
    """
    with products_of(tensor):
        if not layout.batched:
            _add_rows(sums_of, layout, layout.rows(tensor), concepts)
        elif isinstance(concepts, int):
            _add_examples(sums_of(concepts), layout, tensor, sampling)
        elif concepts.dim() == 2:  # a concept for each position of a text
            _add_rows(sums_of, layout, layout.rows(tensor), concepts)
        else:  # by example: selecting from the input is cheaper than selecting rows
            labels = concepts.to(tensor.device)
            there = [concept for concept in torch.unique(labels).tolist() if concept >= 0]
            for concept in there:
                chosen = labels == concept
                _add_examples(sums_of(concept), layout, tensor if bool(chosen.all()) else tensor[chosen], sampling)


def _add_examples(sums: Accumulator, layout: Layout, tensor: Tensor, sampling: Sampling | None) -> None:
    """Add the rows of all examples, in chunks that fit into memory."""
    bytes_per_example = sums.dtype.itemsize * (tensor.numel() // max(1, tensor.shape[0])) * layout.expansion()
    step = max(1, CHUNK_BYTES // max(1, bytes_per_example))
    for part in tensor.split(step):
        chunk = part.to(sums.dtype)  # exact for bfloat16 and float16 activations
        drawn = None if sampling is None else layout.sampled_rows(chunk, sampling.count, sampling.generator)
        if drawn is not None:
            sums.add_rows(_flat(layout, drawn))
        elif (summed := layout.quick_moments(chunk)) is not None:
            second, first = (layout.in_order(one) for one in summed)
            sums.add_sums(second, first, chunk[:, 0].numel())
        elif (quick := layout.quick_rows(chunk)) is not None:
            rows = _flat(layout, quick)
            gram = rows.new_zeros(rows.shape[1], rows.shape[1])
            add_gram_(gram, rows)
            mirror_(gram)
            sums.add_sums(layout.in_order(gram), layout.in_order(rows.sum(0)), len(rows))
        else:
            sums.add_rows(_flat(layout, layout.rows(chunk)))


def _add_rows(sums_of: Callable[[int], Accumulator], layout: Layout, rows: Tensor, concepts: int | Tensor) -> None:
    flat = _flat(layout, rows)
    if isinstance(concepts, int):
        sums_of(concepts).add_rows(flat)
        return
    lead = rows.shape[: rows.dim() - flat.dim() + 1]
    labels = concepts.reshape(*concepts.shape, *(1,) * (len(lead) - concepts.dim())).expand(lead).reshape(-1)
    labels = labels.to(flat.device)
    there = torch.unique(labels).tolist()
    for concept in there:
        if concept >= 0:
            sums_of(concept).add_rows(flat if len(there) == 1 else flat[labels == concept])


def _flat(layout: Layout, rows: Tensor) -> Tensor:
    """``[N]`` indices, ``[N, d]`` rows or ``[N, groups, d]`` rows."""
    kept = 0 if isinstance(layout, OneHot) else 2 if layout.groups > 1 else 1
    return rows.reshape(-1, *rows.shape[rows.dim() - kept :])
