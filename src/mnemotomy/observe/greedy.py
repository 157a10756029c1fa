"""Greedy decoding of a batch from which the rows that have ended are taken out."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

_ENDED = 0.125  # the share of rows that have ended from which on it is worth copying the others


def supports_dropping_rows(model: nn.Module) -> bool:
    """Whether ``write_greedily`` fits: a decoder whose every layer keeps plain keys and values."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    config = getattr(model, "config", None)
    if config is None or getattr(config, "is_encoder_decoder", False):
        return False
    known = inspect.signature(model.forward).parameters
    if not {"attention_mask", "position_ids", "past_key_values", "logits_to_keep"} <= set(known):
        return False
    try:
        layers = DynamicCache(config=config).layers
    except (KeyError, AttributeError, ValueError):  # layers of a kind that this cache does not know
        return False
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def write_greedily(
    model: nn.Module,
    input_ids: Int[Tensor, "rows length"],
    attention_mask: Int[Tensor, "rows length"],
    ends: Sequence[int],
    max_new_tokens: int,
) -> list[list[int]]:
    """The likeliest token again and again, for each row up to and without an end token.

    Args:
        model: one for which ``supports_dropping_rows``, in evaluation mode.
        input_ids: padded on the left.
        attention_mask: 0 at the padding.
        ends: tokens that end a row.
        max_new_tokens: per row.
    """
    from transformers import DynamicCache

    cache: Any = DynamicCache(config=cast(Any, model).config)
    places = torch.arange(len(input_ids), device=input_ids.device)
    open_rows = torch.ones_like(places, dtype=torch.bool)
    written: list[list[int]] = [[] for _ in places]
    positions = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
    tokens = input_ids
    for _ in range(max_new_tokens):
        chosen = _next(model, tokens, attention_mask, positions, cache)
        open_rows &= _no_end(chosen, ends)
        for place, token, is_open in zip(places.tolist(), chosen.tolist(), open_rows.tolist(), strict=True):
            if is_open:
                written[place].append(token)
        left = int(open_rows.sum())
        if not left:
            break
        if left <= (1.0 - _ENDED) * len(places):
            kept = open_rows.nonzero()[:, 0]
            cache.batch_select_indices(kept)
            places, open_rows, chosen = places[kept], open_rows[kept], chosen[kept]
            attention_mask, positions = attention_mask[kept], positions[kept]
        tokens, positions = chosen[:, None], positions[:, -1:] + 1
        attention_mask = torch.cat([attention_mask, torch.ones_like(tokens)], dim=1)
    return written


def _next(model: nn.Module, tokens: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Int[Tensor, " rows"]:
    logits: Float[Tensor, "rows vocabulary"] = model(
        input_ids=tokens,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    return logits.float().argmax(dim=-1)


def _no_end(tokens: Int[Tensor, " rows"], ends: Sequence[int]) -> Bool[Tensor, " rows"]:
    found = torch.ones_like(tokens, dtype=torch.bool)
    for end in ends:
        found &= tokens != end
    return found
