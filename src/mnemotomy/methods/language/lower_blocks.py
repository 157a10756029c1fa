"""What the blocks below an edit give: computed once for each batch, however often that is forwarded while editing."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mnemotomy.core.errors import ModelError
from mnemotomy.core.modules import blocks_by_name
from mnemotomy.engram.sites import Site
from mnemotomy.methods.language.propagation import local_names

LIMIT = 2**30
"""Bytes that are remembered at most; what comes after is computed each time."""


class _Kept(NamedTuple):
    """An output, its tensors, and how often these had been written to: what was changed in place is not used again."""

    output: Any
    tensors: list[Tensor]
    versions: list[int]


@contextlib.contextmanager
def cached_lower_blocks(model: nn.Module, sites: Mapping[str, Site], limit: int = LIMIT) -> Iterator[None]:
    """Inside, blocks below the lowest one with a site run once for each distinct input of the first block.

    They must stay as they are meanwhile, and in evaluation mode. Where the sites lie in several stacks of blocks or
    outside of any, everything runs as ever.

    Args:
        model: a stack of blocks, each of which reads what the one before gives.
        sites: what changes.
        limit: bytes to remember.
    """
    blocks = _below(model, sites)
    memory = _Memory(limit)
    before = [vars(block).get("forward") for block in blocks]
    try:
        for block in blocks:
            block.forward = partial(memory.run, block.forward, block is blocks[0], block is blocks[-1])
        yield
    finally:
        for block, forward in zip(blocks, before, strict=True):
            if forward is None:
                vars(block).pop("forward", None)
            else:
                block.forward = forward


def _below(model: nn.Module, sites: Mapping[str, Site]) -> list[nn.Module]:
    """The blocks before the first with a site, in order."""
    try:
        inside, outside = local_names(model, list(sites))
    except ModelError:  # no blocks
        return []
    lowest = next((number for number, names in enumerate(inside) if names), 0)
    return [] if outside else list(blocks_by_name(model).values())[:lowest]


class _Memory:
    """Outputs of the last of the lower blocks by what the first one read."""

    def __init__(self, limit: int) -> None:
        self.left = limit
        self.kept: dict[bytes, _Kept] = {}
        self.key: bytes | None = None

    def run(self, forward: Callable[..., Any], first: bool, last: bool, *args: Any, **kwargs: Any) -> Any:
        """One block: what is remembered of the last one, or its own output."""
        if first:
            self.key = _key([*args, *kwargs.items()])
        if (found := self.kept.get(self.key or b"")) is not None:
            if found.versions == [tensor._version for tensor in found.tensors]:
                return found.output
            del self.kept[self.key or b""]
        output = forward(*args, **kwargs)
        if last and self.key is not None:
            self._keep(self.key, output)
        return output

    def _keep(self, key: bytes, output: Any) -> None:
        tensors = list(_tensors(output))
        size = sum(tensor.nbytes for tensor in tensors)
        if size <= self.left and not any(tensor.requires_grad for tensor in tensors):
            self.left -= size
            self.kept[key] = _Kept(output, tensors, [tensor._version for tensor in tensors])


def _key(values: Iterable[Any]) -> bytes | None:
    """A hash of all that a block reads; None where something in it is neither a tensor nor plain."""
    content = hashlib.sha256()
    for value in _leaves(values):
        if isinstance(value, Tensor):
            content.update(f"{value.shape} {value.dtype}".encode())
            content.update(value.detach().contiguous().cpu().flatten().view(torch.uint8).numpy().data)
        elif value is None or isinstance(value, str | bool | int | float):
            content.update(f"{type(value)} {value}".encode())
        else:
            return None
    return content.digest()


def _tensors(value: Any) -> Iterator[Tensor]:
    yield from (leaf for leaf in _leaves([value]) if isinstance(leaf, Tensor))


def _leaves(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _leaves(value)
        elif isinstance(value, dict):
            yield from _leaves(value.items())
        else:
            yield value
