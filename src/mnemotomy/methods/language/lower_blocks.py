"""Outputs of the blocks below an edit, computed once per batch, however often it is forwarded while editing."""

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
"""The most bytes to keep; further outputs are computed each time."""


class _Kept(NamedTuple):
    """An output, its tensors and their versions; an output that was changed in place is not used again."""

    output: Any
    tensors: list[Tensor]
    versions: list[int]


@contextlib.contextmanager
def cached_lower_blocks(model: nn.Module, sites: Mapping[str, Site], limit: int = LIMIT) -> Iterator[None]:
    """Inside, the blocks below the lowest one with a site run once for each distinct input of the first block.

    They must not change meanwhile, and must be in evaluation mode. Where the sites lie in several stacks of blocks or
    outside of any, nothing is cached.

    Args:
        model: a stack of blocks, each reading the output of the one before.
        sites: what changes.
        limit: the most bytes to keep.
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
    """The blocks before the first block with a site, in order."""
    try:
        inside, outside = local_names(model, list(sites))
    except ModelError:  # no blocks
        return []
    lowest = next((number for number, names in enumerate(inside) if names), 0)
    return [] if outside else list(blocks_by_name(model).values())[:lowest]


class _Memory:
    """Outputs of the last of the lower blocks, by the input of the first."""

    def __init__(self, limit: int) -> None:
        self.left = limit
        self.kept: dict[bytes, _Kept] = {}
        self.key: bytes | None = None

    def run(self, forward: Callable[..., Any], first: bool, last: bool, *args: Any, **kwargs: Any) -> Any:
        """Stands in for one block: the kept output of the last one, or the block's own."""
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
        tensors = [leaf for leaf in _leaves([output]) if isinstance(leaf, Tensor)]
        size = sum(tensor.nbytes for tensor in tensors)
        if size <= self.left and not any(tensor.requires_grad for tensor in tensors):
            self.left -= size
            self.kept[key] = _Kept(output, tensors, [tensor._version for tensor in tensors])


def _key(values: Iterable[Any]) -> bytes | None:
    """A hash of a block's arguments; None where one is neither a tensor nor a plain value."""
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


def _leaves(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _leaves(value)
        elif isinstance(value, dict):
            yield from _leaves(value.items())
        else:
            yield value
