"""Hidden states, propagated through a decoder block by block, so that each block runs right after its own edit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError, ModelError
from mnemotomy.core.modules import blocks_by_name, device_of, observing
from mnemotomy.engram.forward import default_forward, move
from mnemotomy.engram.sites import Reading, Site, sites_by_name
from mnemotomy.engram.sites.linear import EmbeddingSite
from mnemotomy.text.batches import Batch

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Stream:
    """The input states of some batches at a block of ``model``: first block 0, then one further with every ``advance``.

    Attributes:
        blocks: the model's, in order.
        labels: of each batch; −100 where a token does not count.
        states: ``[batch, length, d]`` per batch.
    """

    def __init__(self, model: nn.Module, batches: Sequence[Batch]) -> None:
        by_name = blocks_by_name(model)
        self.blocks = list(by_name.values())
        self.labels = [batch["labels"] for batch in batches]
        self.states: list[Float[Tensor, "batch length d"]] = []
        self._arguments: list[list[Arguments]] = []
        self._at = 0
        forward = default_forward(model, [next(iter(by_name))])
        with observing(model):
            for batch in batches:
                self._capture(model, forward, batch)

    def __len__(self) -> int:
        return len(self.states)

    @property
    def block(self) -> nn.Module:
        """The current block."""
        return self.blocks[self._at]

    def batches(self) -> list[dict[str, Any]]:
        """The states as batches for ``collect``, with ``forward_state``."""
        pairs = zip(self.states, self.labels, strict=True)
        return [{"inputs_embeds": state, "labels": labels, "of": (self, n)} for n, (state, labels) in enumerate(pairs)]

    def run(self, index: int) -> Float[Tensor, "batch length d"]:
        """The current block's output for one batch."""
        args, kwargs = self._arguments[index][self._at]
        with observing(self.block):
            output = self.block(self.states[index], *args, **kwargs)
        return cast(Tensor, output[0] if isinstance(output, tuple) else output)

    def advance(self) -> None:
        """Run the current block on every batch, and move on to the next."""
        for index in range(len(self)):
            self.states[index] = self.run(index)
        self._at += 1

    def _capture(self, model: nn.Module, forward: Callable[[nn.Module, Any], Any], batch: Batch) -> None:
        """Keep each block's arguments, as masks may differ between blocks, and the first block's states."""
        arguments: list[Arguments] = []

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            kwargs = dict(kwargs)
            state = args[0] if args else kwargs.pop("hidden_states")
            if not arguments:
                self.states.append(state)
            arguments.append((args[1:], kwargs))

        with contextlib.ExitStack() as hooks:
            for block in self.blocks:
                hooks.enter_context(block.register_forward_pre_hook(hook, with_kwargs=True))
            forward(model, move({k: v for k, v in batch.items() if k != "labels"}, device_of(model)))
        if len(arguments) != len(self.blocks):
            raise ModelError(
                f"{type(model).__name__} does not run each of its blocks once; edit it all at once, with engram-uniform"
            )
        self._arguments.append(arguments)


def forward_state(_: nn.Module, batch: Mapping[str, Any]) -> Any:
    """For ``CollectOptions(forward=…)``: run the current block on one of ``Stream.batches``."""
    stream, index = batch["of"]
    return stream.run(index)


def readings(run: Callable[[], Any], sites: Mapping[str, Site]) -> list[tuple[str, Reading]]:
    """The inputs of ``sites`` during the forward pass ``run``, in the order in which they are reached."""
    found: list[tuple[str, Reading]] = []
    with torch.no_grad(), contextlib.ExitStack() as hooks:
        for site in sites.values():
            for handle in site.attach(lambda name, reading: found.append((name, reading))):
                hooks.enter_context(handle)
        run()
    return found


def stages(run: Callable[[], Any], sites: Mapping[str, Site]) -> list[list[str]]:
    """The sites in the order of the forward pass, grouped by the tensor they read: q, k, v; o; gate, up; down."""
    found: list[tuple[Tensor, list[str]]] = []
    for name, reading in readings(run, sites):
        group = next((names for source, names in found if source is reading.source), None)
        if group is None:
            found.append((reading.source, [name]))
        else:
            group.append(name)
    return [names for _, names in found]


def local_names(model: nn.Module, names: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """Site names by block, each relative to its block, and those outside of the blocks.

    Raises:
        ConfigurationError: an embedding is among them.
    """
    for name, site in sites_by_name(model, names).items():
        if isinstance(site, EmbeddingSite):
            raise ConfigurationError(f"only projections can be edited layer by layer; leave the embedding {name!r} out")
    inside: list[list[str]] = []
    rest = list(names)
    for block in blocks_by_name(model):
        prefix = f"{block}."
        inside.append([name.removeprefix(prefix) for name in rest if name.startswith(prefix)])
        rest = [name for name in rest if not name.startswith(prefix)]
    return inside, rest
