"""Calling a model on a batch of any usual form, running no more of it than the sites need."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from mnemotomy.core.errors import DataError
from mnemotomy.core.fingerprints import digest
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
    """Without torch's fused transformer encoder, which bypasses attention modules and packs padded rows together."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def batch_size(batch: Any) -> int:
    """The number of examples: the first dimension of the batch's first tensor.

    Raises:
        DataError: the batch contains no tensor.
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
        f"a batch of type {type(batch).__name__} contains no tensor; give one, (inputs, target) or a dict of tensors"
    )


def hash_batch(found: Any, names: Sequence[str | None], batch: Any) -> None:
    """Add a batch and the concepts of its examples to a hash of ``hashlib``."""
    found.update(json.dumps(names).encode())
    _hash(found, batch)


def _hash(found: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        found.update(digest(value).encode())
    elif isinstance(value, Mapping):
        for key in value:
            found.update(repr(key).encode())
            _hash(found, value[key])
    elif isinstance(value, list | tuple):
        found.update(str(len(value)).encode())
        for one in value:
            _hash(found, one)
    else:
        found.update(repr(value).encode())


def default_forward(model: nn.Module, sites: Iterable[str]) -> Forward:
    """The cheapest call that reaches ``sites``.

    A batch is a dict of keyword arguments (entries that the model does not take are left out), a tensor, or a tuple
    ``(inputs, target)`` whose first entry is one of these. For transformers models the key-value cache is off, and the
    output head is only run if one of the sites is in it: the logits of a large vocabulary cost more than several
    blocks.
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
    counts_places = "position_ids" in accepted and _writes_on(model)

    def forward(_: nn.Module, batch: Any) -> Any:
        batch = inputs_of(batch)
        if not isinstance(batch, Mapping):
            return cast(Any, runner)(batch, **fixed)
        unused = set() if is_encoder_decoder(model) else {"labels"}  # the model would compute a loss for nothing
        arguments = {k: v for k, v in batch.items() if (hands_on or k in accepted) and k not in unused}
        if not arguments:
            raise DataError(
                f"the batch has the entries {sorted(map(str, batch))}, none of which {type(model).__name__} takes; "
                f"give some of {', '.join(list(accepted)[:6])}"
            )
        positions = positions_of(batch) if counts_places and "position_ids" not in arguments else None
        placed = {} if positions is None else {"position_ids": positions}
        return cast(Any, runner)(**arguments, **placed, **fixed)

    return forward


def _writes_on(model: nn.Module) -> bool:
    """Whether the model continues a text: such models of transformers count positions from 0."""
    can_generate = getattr(model, "can_generate", None)
    return callable(can_generate) and bool(can_generate()) and not is_encoder_decoder(model)


def positions_of(batch: Mapping[str, Any]) -> Tensor | None:
    """``[batch, length]``: each token's position among those that ``attention_mask`` keeps; None without left padding.

    Padding on the right leaves positions as they are; padding on the left shifts them, and a model with absolute
    positions would read other positions than it was trained on.
    """
    mask = batch.get("attention_mask")
    if not isinstance(mask, Tensor) or mask.dim() != 2 or not bool((mask[:, :-1] < mask[:, 1:]).any()):
        return None
    return (mask.long().cumsum(-1) - 1).clamp_min(0)
