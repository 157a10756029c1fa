"""Keys and values of a text that is being written, with room for all of it."""

from __future__ import annotations

from typing import Any, cast

from jaxtyping import Int
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """A new token copies itself alone, where transformers' layer copies all tokens before it.

    Args:
        length: the most tokens.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self._length, self._rooms = length, list[Tensor]()

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        start, new = self.get_seq_length(), (key_states, value_states)
        if not self._rooms:
            self.lazy_initialization(key_states, value_states)
            self._rooms = [one.new_empty(*one.shape[:2], self._length, one.shape[-1]) for one in new]
        for room, states in zip(self._rooms, new, strict=True):
            room[:, :, start : start + states.shape[-2]] = states
        return self._seen(start + key_states.shape[-2])

    def batch_select_indices(self, indices: Int[Tensor, " rows"]) -> None:
        length = self.get_seq_length()
        self._rooms = [room[indices] for room in self._rooms]
        self._seen(length)

    def _seen(self, length: int) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (room[:, :, :length] for room in self._rooms)
        return self.keys, self.values


def roomy_cache(model: nn.Module, length: int) -> DynamicCache:
    """An empty cache for a model all of whose layers cache plain keys and values."""
    cache = DynamicCache(config=cast(Any, model).config)
    cache.layers = [RoomyLayer(length) for _ in cache.layers]
    return cache
