"""What a model writes when it draws its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from mnemotomy.core.models import quiet_transformers
from mnemotomy.core.modules import device_of, observing
from mnemotomy.observe.generation import check_writes, end_tokens, ignoring_saved_generation_config, room_after
from mnemotomy.text.batches import pad_rows


def continue_sampled(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    ends: Sequence[int] = (),
) -> list[str]:
    """What the model writes after each prompt, without space around; drawn with torch's global generator.

    Args:
        model: a causal language model of transformers.
        tokenizer: the model's, with a padding token.
        prompts: tokens, one batch of them.
        max_new_tokens: per prompt; fewer where the model's window ends.
        temperature: of the softmax; nothing else shapes it.
        ends: tokens that end a text beside the model's own, and are no part of it.

    Raises:
        DataError: the tokenizer has no padding token.
        ModelError: the model cannot generate, or its window leaves no room.
    """
    from transformers import GenerationConfig

    check_writes(model, tokenizer)
    longest = max(map(len, prompts))
    room = room_after(model, longest, max_new_tokens)
    config = GenerationConfig(
        max_new_tokens=room,
        do_sample=True,
        temperature=temperature,
        top_k=0,  # else transformers takes the 50 likeliest
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=[*end_tokens(model, tokenizer), *ends] or None,
    )
    batch = pad_rows(prompts, tokenizer.pad_token_id, left=True, device=device_of(model))
    with observing(model), quiet_transformers(), ignoring_saved_generation_config(model):
        written = cast(Any, model).generate(**batch, generation_config=config)[:, longest:]
    stops = torch.tensor(list(ends), dtype=torch.long, device=written.device)
    # an end that is no special token would stay in the text
    rows = [row[: int(torch.isin(row, stops).int().argmax())] if bool(torch.isin(row, stops).any()) else row
            for row in written]  # fmt: skip
    return [str(text).strip() for text in tokenizer.batch_decode(rows, skip_special_tokens=True)]
