"""Calling a model on a batch of any usual form, and no further than the sites need."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from mnemotomy.core.errors import DataError
from mnemotomy.engram.rows import inputs_of, is_encoder_decoder

Forward = Callable[[nn.Module, Any], Any]


def move(data: Any, device: torch.device) -> Any:
    """Every tensor of a nested batch on ``device``."""
    if isinstance(data, Tensor):
        return data.to(device)
    if isinstance(data, Mapping):
        return {key: move(value, device) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(move(value, device) for value in data))
    if isinstance(data, list | tuple):
        return type(data)(move(value, device) for value in data)
    return data


@contextlib.contextmanager
def layer_by_layer() -> Iterator[None]:
    """Without torch's fused transformer encoder, which calls no attention and packs padded rows together."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def batch_size(batch: Any) -> int:
    """The number of examples: the first dimension of the batch's first tensor.

    Raises:
        DataError: the batch holds no tensor.
    """
    if isinstance(batch, Tensor):
        return batch.shape[0]
    values: Iterable[Any] = (
        batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    )
    for value in values:
        if isinstance(value, Tensor) and value.dim() > 0:
            return value.shape[0]
        if isinstance(value, Mapping):
            return batch_size(value)
    raise DataError(
        f"a batch of type {type(batch).__name__} holds no tensor; give tensors, (inputs, target) or a dict of tensors"
    )


def default_forward(model: nn.Module, sites: Iterable[str]) -> Forward:
    """The call that reaches ``sites`` at the least cost.

    A batch is a dict of keyword arguments (entries that the model does not take are left out), a tensor, or a tuple
    whose first entry is one of these (``(inputs, target)``). For transformers models the key-value cache is off, and
    the output head is not run over the whole text unless one of the sites is in it: the logits of a large vocabulary
    cost more than several blocks.
    """
    names = list(sites)
    runner = model
    prefix = getattr(model, "base_model_prefix", "")
    body = getattr(model, prefix, None) if prefix else None
    if isinstance(body, nn.Module) and not is_encoder_decoder(model) and all(n.startswith(f"{prefix}.") for n in names):
        runner = body
    accepted = inspect.signature(runner.forward).parameters
    hands_on = all(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in accepted.values())  # a wrapper
    fixed = {"use_cache": False} if "use_cache" in accepted else {}

    def forward(_: nn.Module, batch: Any) -> Any:
        batch = inputs_of(batch)
        if not isinstance(batch, Mapping):
            return cast(Any, runner)(batch, **fixed)
        unused = set() if is_encoder_decoder(model) else {"labels"}  # a loss would be computed and thrown away
        arguments = {k: v for k, v in batch.items() if (hands_on or k in accepted) and k not in unused}
        if not arguments:
            raise DataError(
                f"the batch has the entries {sorted(map(str, batch))}, none of which {type(model).__name__} takes; "
                f"it takes {', '.join(list(accepted)[:6])}"
            )
        return cast(Any, runner)(**arguments, **fixed)

    return forward
