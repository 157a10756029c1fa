"""Sums over the rows of one input: ``Σ = Xᵀ X``, the row sum and the count. Additive over any split of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mnemotomy.engram.products import add_gram_, mirror_, pack, products_of, unpack
from mnemotomy.engram.sites.layout import Layout, OneHot

_CHUNK_BYTES = 64 * 2**20  # the most that patches may take at a time


@dataclass(frozen=True)
class Sampling:
    """So many rows of each example, where a layout makes more of it, drawn by ``generator``."""

    count: int
    generator: torch.Generator


class SecondMoment:
    """The second moment of one input over the rows of one concept.

    Σ is symmetric: once its rows are in, ``pack_`` keeps the upper triangle only, and ``second`` is put together again
    when it is asked for.

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
        """From what ``triangle`` gives; ``shape`` is that of ``second``.

        Raises:
            ValueError: the numbers are no triangle of a matrix of this shape.
        """
        d = shape[-1]
        if triangle.shape[-1] != (d if len(shape) == 1 else d * (d + 1) // 2):
            raise ValueError(f"{triangle.shape[-1]} numbers are no triangle of {list(shape)}")
        moment = cls(triangle, first, count)
        moment.shape, moment._packed = tuple(shape), True
        return moment

    @property
    def second(self) -> Tensor:
        """Σ itself; a copy where it is packed, and with only its upper triangle up to date while rows are added."""
        return unpack(self._stored, self.shape) if self._packed else self._stored

    @property
    def triangle(self) -> Tensor:
        """The upper triangle of Σ row by row, ``[*groups, d (d + 1) / 2]``; a diagonal as it is."""
        return self._stored if self._packed else pack(self._stored)

    @property
    def diagonal(self) -> bool:
        """Whether ``second`` holds only the diagonal."""
        return len(self.shape) == 1

    @property
    def finite(self) -> bool:
        """Whether no sum is NaN or infinite."""
        stored = self._stored
        return bool(stored.sum().isfinite()) or bool(stored.isfinite().all())  # the sum of all may overflow alone

    def pack_(self) -> None:
        """Keep the upper triangle only: half the memory."""
        self._stored, self._packed = self.triangle, True

    def unpack_(self) -> None:
        """Make room for more rows."""
        self._stored, self._packed = self.second, self.diagonal

    def extended(self, bias: bool) -> Float[Tensor, "*groups d d"]:
        """Σ as a site with or without a bias column needs it: with ``bias``, of rows extended by 1."""
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
        """The sum of one or more, the one itself where there is no other."""
        if len(moments) == 1:
            return moments[0]
        triangle, first = moments[0].triangle + moments[1].triangle, moments[0].first + moments[1].first
        for moment in moments[2:]:
            triangle += moment.triangle
            first += moment.first
        return cls.from_triangle(triangle, moments[0].shape, first, sum(moment.count for moment in moments))

    def __add__(self, other: SecondMoment) -> SecondMoment:
        return self.of_all([self, other])

    def zeros_like(self) -> SecondMoment:
        """The moment of no rows."""
        return SecondMoment.from_triangle(torch.zeros_like(self.triangle), self.shape, torch.zeros_like(self.first), 0)

    def to(self, device: torch.device | str) -> SecondMoment:
        """The same on another device."""
        triangle, first = self.triangle.to(device), self.first.to(device)
        return SecondMoment.from_triangle(triangle, self.shape, first, self.count)


def empty_moment(layout: Layout, example: Tensor, dtype: torch.dtype) -> SecondMoment:
    """Zeros of the shape that ``example``, an input with this layout, needs."""
    device = example.device
    if isinstance(layout, OneHot):
        return SecondMoment(
            torch.zeros(layout.size, dtype=dtype, device=device), torch.zeros(0, dtype=dtype, device=device), 0
        )
    rows = layout.rows(example[:1])
    groups = layout.groups
    shape = (groups, rows.shape[-1]) if groups > 1 else (rows.shape[-1],)
    second = torch.zeros(*shape, rows.shape[-1], dtype=dtype, device=device)
    return SecondMoment(second, torch.zeros(shape, dtype=dtype, device=device), 0)


def add_input_(
    moment_of: Callable[[int], SecondMoment],
    layout: Layout,
    tensor: Tensor,
    concepts: int | Int[Tensor, "*lead"],
    sampling: Sampling | None = None,
) -> None:
    """Add the rows of one input, each to the moment of its concept.

    Args:
        moment_of: the moment of a concept by its index. Only the upper triangles are kept up to date.
        layout: how rows are cut out of ``tensor``.
        tensor: the input.
        concepts: the one concept of all rows, or the concept of each row (−1 for none) in the shape of the rows'
            leading dimensions, or of those of the input where a layout makes several rows of one example.
        sampling: of those several; all by default.
    """
    with products_of(tensor):
        if not layout.batched:
            _add_rows(moment_of, layout, layout.rows(tensor), concepts)
        elif isinstance(concepts, int):
            _add_examples(moment_of(concepts), layout, tensor, sampling)
        else:  # example by example: a part of the input is a fraction of its rows
            labels = concepts.to(tensor.device)
            there = [concept for concept in torch.unique(labels).tolist() if concept >= 0]
            for concept in there:
                chosen = labels == concept
                _add_examples(moment_of(concept), layout, tensor if bool(chosen.all()) else tensor[chosen], sampling)


def _add_examples(moment: SecondMoment, layout: Layout, tensor: Tensor, sampling: Sampling | None) -> None:
    """Add the rows of all examples, so many examples at a time."""
    bytes_per_example = moment.second.element_size() * (tensor.numel() // max(1, tensor.shape[0])) * layout.expansion()
    step = max(1, _CHUNK_BYTES // max(1, bytes_per_example))
    for part in tensor.split(step):
        chunk = part.to(moment.second.dtype)  # exact for bfloat16 and float16 activations
        if sampling is not None:
            drawn = layout.sampled_rows(chunk, sampling.count, sampling.generator)
            if drawn is not None:
                _add_selected(moment, layout, _flat(layout, drawn))
                continue
        summed = layout.quick_moments(chunk)
        if summed is None:
            quick = layout.quick_rows(chunk)
            rows = layout.rows(chunk) if quick is None else quick
            _add_selected(moment, layout, _flat(layout, rows), quick is not None)
        else:
            second, first = (layout.in_order(sums) for sums in summed)
            moment.second.add_(second)
            moment.first.add_(first)
            moment.count += chunk[:, 0].numel()


def _add_rows(moment_of: Callable[[int], SecondMoment], layout: Layout, rows: Tensor, concepts: int | Tensor) -> None:
    flat = _flat(layout, rows)
    if isinstance(concepts, int):
        _add_selected(moment_of(concepts), layout, flat)
        return
    lead = rows.shape[: rows.dim() - flat.dim() + 1]
    labels = concepts.reshape(*concepts.shape, *(1,) * (len(lead) - concepts.dim())).expand(lead).reshape(-1)
    labels = labels.to(flat.device)
    there = torch.unique(labels).tolist()
    for concept in there:
        if concept >= 0:
            _add_selected(moment_of(concept), layout, flat if len(there) == 1 else flat[labels == concept])


def _flat(layout: Layout, rows: Tensor) -> Tensor:
    """``[N]`` indices, ``[N, d]`` rows or ``[N, groups, d]`` rows."""
    kept = 0 if isinstance(layout, OneHot) else 2 if layout.groups > 1 else 1
    return rows.reshape(-1, *rows.shape[rows.dim() - kept :])


def _add_selected(moment: SecondMoment, layout: Layout, rows: Tensor, quick: bool = False) -> None:
    if isinstance(layout, OneHot):
        moment.second.add_(torch.bincount(rows, minlength=layout.size).to(moment.second.dtype))
    else:
        rows = rows.to(moment.second.dtype)  # exact for bfloat16 and float16 activations
        total = rows.sum(0)
        if quick:
            gram = torch.zeros_like(moment.second)
            add_gram_(gram, rows)
            mirror_(gram)
            moment.second.add_(layout.in_order(gram))
        elif rows.dim() == 3:
            per_group = rows.transpose(0, 1)
            moment.second.baddbmm_(per_group.mT, per_group)
        else:
            add_gram_(moment.second, rows)
        moment.first += layout.in_order(total) if quick else total
    moment.count += rows.shape[0]
