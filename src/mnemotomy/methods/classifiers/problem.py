"""What an unlearning method is given: a trained model, what to forget, what to keep. Never a test example."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mnemotomy.core.errors import ConceptError, DataError


@dataclass(frozen=True)
class Examples:
    """Inputs with the class of each.

    Raises:
        DataError: the labels are no whole numbers, or not as many as the inputs.
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
        """Every example once, in their order or in one drawn from ``generator``.

        A last example that would be alone joins the batch before it: batch normalisation cannot be trained on one row.
        """
        order = None if generator is None else torch.randperm(len(self), generator=generator).to(self.labels.device)
        stops = [*range(batch_size, len(self) - 1, batch_size), len(self)]
        for start, stop in zip([0, *stops], stops, strict=False):
            yield self[slice(start, stop) if order is None else order[start:stop]]

    def __getitem__(self, rows: slice | Tensor) -> Examples:
        return Examples(self.inputs[rows], self.labels[rows])

    def drawn(self, count: int, seed: int) -> Examples:
        """At most ``count`` of them, drawn at random and in random order."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self[order[:count].to(self.labels.device)]

    def to(self, device: torch.device) -> Examples:
        """The same examples on another device."""
        return Examples(self.inputs.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Problem:
    """One request to forget.

    Attributes:
        model: trained on both sets; methods leave it as it is.
        forget: the training examples ``X⁺`` to forget.
        retain: the other training examples, ``X⁻``.
        classes: how many the model tells apart.
        fresh: makes an untrained model of the same architecture, from the same seed.
        fit: the original training; takes an untrained model and the examples, and gives the trained model back.
        seed: of whatever a method draws at random.

    Raises:
        ConceptError: one of the sets is empty.
        DataError: a label is not in ``0 … classes − 1``, there are fewer than two classes, or the sets' inputs differ
            in shape.
    """

    model: nn.Module
    forget: Examples
    retain: Examples
    classes: int
    fresh: Callable[[], nn.Module]
    fit: Callable[[nn.Module, Examples], nn.Module]
    seed: int = 0

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise DataError(f"unlearning needs at least two classes, not {self.classes}")
        for name, examples in (("forget", self.forget), ("retain", self.retain)):
            if not len(examples):
                raise ConceptError(f"there is nothing to {name}: that set is empty; name a class that has examples")
            lowest, highest = int(examples.labels.min()), int(examples.labels.max())
            if lowest < 0 or highest >= self.classes:
                wrong = lowest if lowest < 0 else highest
                raise DataError(f"label {wrong} in the {name} set is none of 0 … {self.classes - 1}")
        kept, forgotten = self.retain.inputs.shape[1:], self.forget.inputs.shape[1:]
        if kept != forgotten:
            raise DataError(f"inputs to forget have shape {list(forgotten)}, those to retain {list(kept)}; resize them")
