"""Linear probes on hidden states, and the layers they read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import ModelError
from mnemotomy.core.modules import blocks_by_name

Layer = int | float | str
"""A block, counted from 1; a share of the depth; or the name of a module whose output is probed."""


class LinearProbe(nn.Module):
    """``P_φ``: predicts from a hidden state which fact it belongs to."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.readout = nn.Linear(width, classes)

    def forward(self, states: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """Logits over the facts' answers."""
        return self.readout(states.float())


def resolve_layer(model: nn.Module, layer: Layer) -> str:
    """The name of the module whose output is the hidden state at ``layer``.

    Args:
        model: with its blocks in one list, as in transformers' models.
        layer: 20 is the 20th block; 0.83 the block at this share of the depth; a name names the module.

    Raises:
        ModelError: the model has no such layer.
    """
    if isinstance(layer, str):
        if not layer or layer not in dict(model.named_modules()):
            raise ModelError(f"the model has no module {layer!r}; its blocks are {_span(list(blocks_by_name(model)))}")
        return layer
    blocks = list(blocks_by_name(model))
    if isinstance(layer, float) and not 0.0 < layer <= 1.0:
        raise ModelError(f"layer {layer} is a share of the depth, which must be above 0 and at most 1")
    number = round(layer * len(blocks)) if isinstance(layer, float) else layer
    if not 1 <= number <= len(blocks):
        raise ModelError(f"layer {layer} is out of range: the model has {len(blocks)} blocks, counted from 1")
    return blocks[number - 1]


def layers_from(model: nn.Module, layer: Layer) -> list[str]:
    """The module at ``layer`` and every block after it."""
    name = resolve_layer(model, layer)
    blocks = list(blocks_by_name(model))
    return blocks[blocks.index(name) :] if name in blocks else [name]


def blocks_between(model: nn.Module, first: int | float, last: int | float) -> list[str]:
    """The blocks from one to another, both included.

    Raises:
        ModelError: the model has no such block, or the last one comes before the first.
    """
    blocks = list(blocks_by_name(model))
    start, end = (blocks.index(resolve_layer(model, one)) for one in (first, last))
    if end < start:
        raise ModelError(f"there are no blocks from {first} to {last}; give the lower one first")
    return blocks[start : end + 1]


def hidden_size(model: Any) -> int:
    """The width of the hidden states."""
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    return int(config.hidden_size)


@contextlib.contextmanager
def hidden_states(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Yield a dict that each forward pass inside fills with the outputs ``[batch, length, d]`` of the named modules.

    Raises:
        ModelError: a module did not run, or its output is not a hidden state.
    """
    states: dict[str, Tensor] = {}
    width = hidden_size(model)

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            found = output[0] if isinstance(output, tuple) else output
            if not isinstance(found, Tensor) or found.dim() != 3 or found.shape[-1] != width:
                raise ModelError(f"the output of {name!r} is not a hidden state of width {width}; name a block instead")
            states[name] = found

        return hook

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield states
        idle = [name for name in names if name not in states]
        if idle:
            raise ModelError(f"{idle[0]!r} is never called, so it has no hidden state; name a block instead")
    finally:
        for handle in handles:
            handle.remove()


def _span(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
