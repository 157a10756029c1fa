"""The logits of the frozen reference M_ref, where possible without a second copy of the weights."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.modules import device_of, observing
from mnemotomy.core.precision import Precision, autocast
from mnemotomy.core.progress import Advance
from mnemotomy.metabolism.streams import Sequences

PRECOMPUTED_AT_MOST = 2 << 30
"""The most bytes of logits that ``auto`` precomputes; beyond that, a frozen copy of the weights is cheaper."""

_AT_ONCE = 32

Encode = Callable[[Sequence[int]], Sequences]


class Reference(ABC):
    """The model before training, run at the precision of training, so that only training moves the model away.

    Args:
        precision: of its forward passes.
    """

    def __init__(self, precision: Precision) -> None:
        self._precision = precision

    @abstractmethod
    def logits(self, stream: str, indices: Sequence[int], texts: Sequences) -> Float[Tensor, "n length vocabulary"]:
        """The logits of ``texts``, which have these indices in ``stream``."""

    def _forward(self, model: Any, texts: Sequences) -> Tensor:
        device = device_of(model)
        ids, mask = texts.input_ids.to(device), texts.attention_mask.to(device)
        with autocast(device, self._precision):
            return model(input_ids=ids, attention_mask=mask, use_cache=False).logits


class Precomputed(Reference):
    """Logits computed once for every text and kept on the CPU."""

    def __init__(self, precision: Precision) -> None:
        super().__init__(precision)
        self._rows: dict[tuple[str, int], Tensor] = {}

    def add(self, model: nn.Module, stream: str, count: int, encode: Encode, advance: Advance) -> None:
        """Run the model on texts 0 to ``count − 1`` of a stream."""
        with observing(model):
            for start in range(0, count, _AT_ONCE):
                indices = range(start, min(start + _AT_ONCE, count))
                texts = encode(indices)
                found = self._forward(model, texts).float().cpu()
                for row, index in enumerate(indices):
                    length = int(texts.attention_mask[row].sum())
                    self._rows[stream, index] = found[row, :length].clone()
                advance(len(indices))

    def logits(self, stream: str, indices: Sequence[int], texts: Sequences) -> Tensor:
        rows = [self._rows[stream, index] for index in indices]
        found = torch.zeros(*texts.input_ids.shape, rows[0].shape[-1])
        for number, row in enumerate(rows):
            found[number, : len(row)] = row
        return found.to(texts.input_ids.device)


class FrozenCopy(Reference):
    """A second copy of the weights, for streams too long to precompute."""

    def __init__(self, model: nn.Module, precision: Precision) -> None:
        super().__init__(precision)
        self._model = copy.deepcopy(model).requires_grad_(False).eval()

    def logits(self, stream: str, indices: Sequence[int], texts: Sequences) -> Tensor:
        self._model.to(texts.input_ids.device)  # the copy was made before training chose a device
        with torch.no_grad():
            return self._forward(self._model, texts)


class AdapterOff(Reference):
    """The trained model with its peft adapter switched off: no second copy, one more forward pass."""

    def __init__(self, model: Any, precision: Precision) -> None:
        super().__init__(precision)
        self._model = model

    def logits(self, stream: str, indices: Sequence[int], texts: Sequences) -> Tensor:
        with observing(self._model), self._model.disable_adapter():
            return self._forward(self._model, texts)
