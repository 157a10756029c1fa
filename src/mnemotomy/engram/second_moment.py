"""Sums over the rows of one input: ``Σ = Xᵀ X``, the row sum and the count. Additive over any split of the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mnemotomy.engram.products import add_gram_, mirror_
from mnemotomy.engram.sites.layout import Layout, OneHot

_CHUNK_BYTES = 64 * 2**20  # the most that patches may take at a time


@dataclass
class SecondMoment:
    """The second moment of one input over the rows of one concept.

    Attributes:
        second: ``[d, d]``; ``[groups, d, d]`` for grouped convolutions; ``[size]``, a diagonal, for one-hot rows.
        first: the sum of the rows, ``[d]`` or ``[groups, d]``: the border of Σ when the input is extended by 1.
            Empty for one-hot rows.
        count: the number of rows ``N``.
    """

    second: Tensor
    first: Tensor
    count: int

    @property
    def diagonal(self) -> bool:
        """Whether ``second`` holds only the diagonal."""
        return self.second.dim() == 1

    def extended(self, bias: bool) -> Float[Tensor, "*groups d d"]:
        """Σ as a site with or without a bias column needs it: with ``bias``, of rows extended by 1."""
        if not bias or self.diagonal:
            return self.second
        d = self.second.shape[-1]
        extended = self.second.new_empty(*self.second.shape[:-2], d + 1, d + 1)
        extended[..., :d, :d] = self.second
        extended[..., :d, d] = self.first
        extended[..., d, :d] = self.first
        extended[..., d, d] = self.count
        return extended

    def __add__(self, other: SecondMoment) -> SecondMoment:
        return SecondMoment(self.second + other.second, self.first + other.first, self.count + other.count)

    def clone(self) -> SecondMoment:
        """A copy that shares no memory."""
        return SecondMoment(self.second.clone(), self.first.clone(), self.count)

    def mirror_(self) -> None:
        """Complete the lower triangle after ``add_``."""
        if not self.diagonal:
            mirror_(self.second)


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
    moment_of: Callable[[int], SecondMoment], layout: Layout, tensor: Tensor, concepts: int | Int[Tensor, "*lead"]
) -> None:
    """Add the rows of one input, each to the moment of its concept.

    Args:
        moment_of: the moment of a concept by its index. Only the upper triangles are kept up to date.
        layout: how rows are cut out of ``tensor``.
        tensor: the input.
        concepts: the one concept of all rows, or the concept of each row (−1 for none) in the shape of the rows'
            leading dimensions, or of those of the input where a layout makes several rows of one example.
    """
    if not layout.batched:
        _add_rows(moment_of, layout, layout.rows(tensor), concepts)
        return
    bytes_per_example = 4 * (tensor.numel() // max(1, tensor.shape[0])) * layout.expansion()
    step = max(1, _CHUNK_BYTES // max(1, bytes_per_example))
    for start in range(0, tensor.shape[0], step):
        part = concepts if isinstance(concepts, int) else concepts[start : start + step]
        _add_rows(moment_of, layout, layout.rows(tensor[start : start + step]), part)


def _add_rows(moment_of: Callable[[int], SecondMoment], layout: Layout, rows: Tensor, concepts: int | Tensor) -> None:
    if isinstance(concepts, int):
        _add_selected(moment_of(concepts), layout, _flat(layout, rows))
        return
    flat = _flat(layout, rows)
    lead = rows.shape[: rows.dim() - flat.dim() + 1]
    labels = concepts.reshape(*concepts.shape, *(1,) * (len(lead) - concepts.dim())).expand(lead).reshape(-1)
    labels = labels.to(flat.device)
    for concept in torch.unique(labels).tolist():
        if concept >= 0:
            _add_selected(moment_of(concept), layout, flat[labels == concept])


def _flat(layout: Layout, rows: Tensor) -> Tensor:
    """``[N]`` indices, ``[N, d]`` rows or ``[N, groups, d]`` rows."""
    kept = 0 if isinstance(layout, OneHot) else 2 if layout.groups > 1 else 1
    return rows.reshape(-1, *rows.shape[rows.dim() - kept :])


def _add_selected(moment: SecondMoment, layout: Layout, rows: Tensor) -> None:
    if isinstance(layout, OneHot):
        moment.second += torch.bincount(rows, minlength=layout.size).to(moment.second.dtype)
    else:
        rows = rows.to(moment.second.dtype)  # exact for bfloat16 and float16 activations
        if rows.dim() == 3:
            per_group = rows.transpose(0, 1)
            moment.second.baddbmm_(per_group.mT, per_group)
        else:
            add_gram_(moment.second, rows)
        moment.first += rows.sum(0)
    moment.count += rows.shape[0]
