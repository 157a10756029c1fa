"""Texts written in one batch: a row for texts that are the same so far, and none for those that have ended."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mnemotomy.observe.sampling import Sampling

_ENDED = 0.125  # from this share of ended texts on, it pays to copy the others


def supports_dropping_rows(model: nn.Module) -> bool:
    """Whether ``write`` works: for a decoder in which every layer caches plain keys and values."""
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
    except (KeyError, AttributeError, ValueError):  # layers that this cache does not know
        return False
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def write(
    model: nn.Module,
    input_ids: Int[Tensor, "prompts length"],
    attention_mask: Int[Tensor, "prompts length"],
    ends: Sequence[int],
    max_new_tokens: int,
    *,
    sampling: Sampling | None = None,
    prompts: Sequence[int] = (),
) -> list[list[int]]:
    """The likeliest token again and again, or drawn ones; each text stops before an end token.

    Texts that are the same so far share a row of the batch.

    Args:
        model: in evaluation mode; ``supports_dropping_rows`` must be true.
        input_ids: padded on the left.
        attention_mask: 0 at the padding.
        ends: tokens that end a text.
        max_new_tokens: per text.
        sampling: draw texts.
        prompts: the places of the prompts, on which drawn texts depend.

    Returns:
        The texts of the first prompt, then those of the second, and so on.
    """
    from mnemotomy.observe.cache import roomy_cache

    if input_ids.device.type == "cpu":
        # a column that nothing attends to: without a mask, torch copies shared keys and values for each head, and
        # takes several times as long
        input_ids, attention_mask = (nn.functional.pad(one, (1, 0)) for one in (input_ids, attention_mask))
    cache = roomy_cache(model, input_ids.shape[1] + max_new_tokens)
    stops = torch.tensor(list(ends), dtype=torch.long, device=input_ids.device)
    positions = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)
    logits = _next(model, input_ids, attention_mask, positions, cache)
    texts = rows = torch.arange(len(input_ids), device=input_ids.device)
    numbers = torch.empty(len(texts), max_new_tokens)
    if sampling is not None:
        numbers = sampling.numbers(prompts, max_new_tokens).to(input_ids.device)
        texts, rows = torch.arange(len(numbers), device=input_ids.device), rows.repeat_interleave(sampling.samples)
    open_texts = torch.ones_like(texts, dtype=torch.bool)
    written: list[list[int]] = [[] for _ in texts]
    for step in range(max_new_tokens):
        if sampling is None:
            chosen = logits.argmax(dim=-1)[rows]
        else:
            chosen = sampling.choose(logits, numbers[texts, step], rows)
        open_texts &= ~torch.isin(chosen, stops)
        for text, token, is_open in zip(texts.tolist(), chosen.tolist(), open_texts.tolist(), strict=True):
            if is_open:
                written[text].append(token)
        left = int(open_texts.sum())
        if not left or step + 1 == max_new_tokens:
            break
        if left <= (1.0 - _ENDED) * len(texts):
            texts, rows, chosen, open_texts = (one[open_texts] for one in (texts, rows, chosen, open_texts))
        size = logits.shape[-1]
        follows, follower = torch.unique(rows * size + chosen, return_inverse=True)  # the same texts so far: one row
        kept, chosen, rows = follows // size, follows % size, follower
        if len(kept) != len(logits) or bool((kept != torch.arange(len(kept), device=kept.device)).any()):
            cache.batch_select_indices(kept)
            attention_mask, positions = attention_mask[kept], positions[kept]
        tokens, positions = chosen[:, None], positions[:, -1:] + 1
        attention_mask = torch.cat([attention_mask, torch.ones_like(tokens)], dim=1)
        logits = _next(model, tokens, attention_mask, positions, cache)
    return written


def _next(
    model: nn.Module, tokens: Tensor, mask: Tensor, positions: Tensor, cache: Any
) -> Float[Tensor, "rows vocabulary"]:
    logits: Tensor = model(
        input_ids=tokens,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    return logits
