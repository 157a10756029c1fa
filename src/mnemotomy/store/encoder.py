"""Texts as vectors, by a model's own hidden states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import ModelError
from mnemotomy.core.modules import device_of, observing, window_of

Encoder: TypeAlias = Callable[[Sequence[str]], Float[Tensor, "n d"]]


def mean_hidden_encoder(model: nn.Module, tokenizer: Any, *, batch_size: int = 32, max_length: int = 512) -> Encoder:
    """An encoder: the last hidden states, averaged over the tokens of a text, at unit length.

    Args:
        model: of transformers.
        tokenizer: with a padding token.
        batch_size: texts in one forward pass.
        max_length: tokens of a text; what is beyond is cut off.
    """
    longest = min(max_length, window_of(model) or max_length)
    backbone = cast(Any, model).base_model if hasattr(model, "base_model") else model  # without the head's logits

    def encode(texts: Sequence[str]) -> Tensor:
        parts = [_encode(texts[start : start + batch_size]) for start in range(0, len(texts), batch_size)]
        if not parts:
            raise ModelError("there is no text to encode")
        return torch.cat(parts)

    def _encode(texts: Sequence[str]) -> Tensor:
        # on the right, so that positions are the same alone and in a batch
        batch = tokenizer(
            list(texts), padding=True, padding_side="right", truncation=True, max_length=longest, return_tensors="pt"
        )
        mask = batch["attention_mask"].to(device_of(model))
        with observing(model):
            hidden = backbone(input_ids=batch["input_ids"].to(device_of(model)), attention_mask=mask).last_hidden_state
        kept = mask[..., None].bool()
        mean = hidden.float().masked_fill(~kept, 0).sum(1) / kept.sum(1).clamp(min=1)
        return nn.functional.normalize(mean, dim=-1).cpu()

    return encode
