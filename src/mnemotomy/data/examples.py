"""Inputs with their classes, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mnemotomy.core.errors import DataError


@dataclass(frozen=True)
class Examples:
    """Inputs with their classes.

    Raises:
        DataError: the labels are not whole numbers, or not one per input.
    """

    inputs: Float[Tensor, " n *shape"]
    labels: Int[Tensor, " n"]

    def __post_init__(self) -> None:
        if self.labels.is_floating_point() or self.labels.dim() != 1 or len(self.labels) != len(self.inputs):
            raise DataError(
                f"{len(self.inputs)} inputs came with labels of shape {list(self.labels.shape)} and type "
                f"{self.labels.dtype}; give one whole number per input"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Iterator[Examples]:
        """Every example once, in the given order or in one drawn from ``generator``.

        A single last example joins the batch before it: batch normalisation cannot be trained on one row.
        """
        order = None if generator is None else torch.randperm(len(self), generator=generator).to(self.labels.device)
        stops = [*range(batch_size, len(self) - 1, batch_size), len(self)]
        for start, stop in zip([0, *stops], stops, strict=False):
            yield self[slice(start, stop) if order is None else order[start:stop]]

    def __getitem__(self, rows: slice | Tensor) -> Examples:
        return Examples(self.inputs[rows], self.labels[rows])

    def drawn(self, count: int, seed: int) -> Examples:
        """At most ``count`` examples, drawn at random."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self[order[:count].to(self.labels.device)]

    def to(self, device: torch.device) -> Examples:
        """The same examples on another device."""
        return Examples(self.inputs.to(device), self.labels.to(device))
