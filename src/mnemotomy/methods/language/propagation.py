"""Hidden states on their way through a decoder, block by block, so that each block runs right after its own edit."""

from __future__ import annotations

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
    """The states of some batches in front of a block of ``model``: first of block 0, then wherever ``advance`` led.

    Attributes:
        blocks: the model's own, in order.
        labels: of each batch; other than −100 where a token counts.
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
        """The block that the states stand in front of."""
        return self.blocks[self._at]

    def batches(self) -> list[dict[str, Any]]:
        """The states as ``collect`` takes batches, together with ``forward``."""
        pairs = zip(self.states, self.labels, strict=True)
        return [{"inputs_embeds": state, "labels": labels, "of": (self, n)} for n, (state, labels) in enumerate(pairs)]

    def run(self, index: int) -> Float[Tensor, "batch length d"]:
        """What the present block makes of one batch."""
        args, kwargs = self._arguments[index][self._at]
        with observing(self.block):
            output = self.block(self.states[index], *args, **kwargs)
        return cast(Tensor, output[0] if isinstance(output, tuple) else output)

    def advance(self) -> None:
        """Run the present block, as it is by now, on every batch, and go in front of the next."""
        for index in range(len(self)):
            self.states[index] = self.run(index)
        self._at += 1

    def _capture(self, model: nn.Module, forward: Callable[[nn.Module, Any], Any], batch: Batch) -> None:
        """Each block's arguments: masks may differ between blocks. The states of all but the first are let go."""
        arguments: list[Arguments] = []

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            kwargs = dict(kwargs)
            state = args[0] if args else kwargs.pop("hidden_states")
            if not arguments:
                self.states.append(state)
            arguments.append((args[1:], kwargs))

        handles = [block.register_forward_pre_hook(hook, with_kwargs=True) for block in self.blocks]
        try:
            forward(model, move({k: v for k, v in batch.items() if k != "labels"}, device_of(model)))
        finally:
            for handle in handles:
                handle.remove()
        if len(arguments) != len(self.blocks):
            raise ModelError(
                f"{type(model).__name__} does not run each of its blocks once; edit it in one go, with engram-uniform"
            )
        self._arguments.append(arguments)


def forward_state(_: nn.Module, batch: Mapping[str, Any]) -> Any:
    """For ``CollectOptions(forward=…)``: run the block that one of ``Stream.batches`` stands in front of."""
    stream, index = batch["of"]
    return stream.run(index)


def stages(run: Callable[[], Any], sites: Mapping[str, Site]) -> list[list[str]]:
    """The sites in the order they are reached in, those that read one tensor together: q, k, v; o; gate, up; down.

    Args:
        run: a forward pass that reaches the sites.
        sites: by name.
    """
    found: list[list[str]] = []
    sources: list[Tensor] = []

    def observe(name: str, reading: Reading) -> None:
        for source, names in zip(sources, found, strict=True):
            if source is reading.source:
                names.append(name)
                return
        sources.append(reading.source)
        found.append([name])

    handles = [handle for site in sites.values() for handle in site.attach(observe)]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return found


def local_names(model: nn.Module, names: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """Site names sorted by block, each relative to its block, and those outside of the blocks.

    Raises:
        ConfigurationError: an embedding is among them.
    """
    for name, site in sites_by_name(model, names).items():
        if isinstance(site, EmbeddingSite):
            raise ConfigurationError(f"layer by layer, projections are edited; leave the embedding {name!r} out")
    inside: list[list[str]] = []
    rest = list(names)
    for block in blocks_by_name(model):
        prefix = f"{block}."
        inside.append([name.removeprefix(prefix) for name in rest if name.startswith(prefix)])
        rest = [name for name in rest if not name.startswith(prefix)]
    return inside, rest
