"""Greedy continuations of many prompts at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from mnemotomy.errors import ModelError
from mnemotomy.models import device_of, observing, quiet_transformers


def continuations(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int = 16,
    special_tokens: bool = True,
) -> list[str]:
    """What the model says after each prompt, up to its end-of-text token, without spaces around it.

    Args:
        model: a causal language model of transformers.
        tokenizer: with a padding token.
        prompts: as the model reads them.
        max_new_tokens: the longest answer.
        batch_size: prompts in one batch, padded on the left.
        special_tokens: whether the tokenizer adds what it puts before a text; not where a chat template has done so.

    Raises:
        ModelError: the model cannot generate.
    """
    if not hasattr(model, "generate"):
        raise ModelError(f"{type(model).__name__} cannot generate; load a causal language model of transformers")
    texts: list[str] = []
    for start in range(0, len(prompts), batch_size):
        rows = [_prompt_ids(tokenizer, prompt, special_tokens) for prompt in prompts[start : start + batch_size]]
        texts += _generate(model, tokenizer, rows, max_new_tokens)
    return texts


def _prompt_ids(tokenizer: Any, prompt: str, special_tokens: bool) -> list[int]:
    ids = list(tokenizer(prompt, add_special_tokens=special_tokens)["input_ids"])
    while ids and ids[-1] == tokenizer.eos_token_id and special_tokens:
        ids.pop()  # some tokenizers close every text, and nothing is to follow that
    return ids or [int(tokenizer.pad_token_id)]


def _generate(model: nn.Module, tokenizer: Any, rows: Sequence[list[int]], max_new_tokens: int) -> list[str]:
    longest, padding = max(map(len, rows)), int(tokenizer.pad_token_id)
    ids = torch.tensor([[padding] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    with observing(model), quiet_transformers():
        # spelled out, for what is left out comes from the model's own generation config
        answered = cast(Any, model).generate(
            input_ids=ids.to(device_of(model)),
            attention_mask=mask.to(device_of(model)),
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            max_new_tokens=max_new_tokens,
            min_new_tokens=0,
            pad_token_id=padding,
        )
    return [text.strip() for text in tokenizer.batch_decode(answered[:, longest:], skip_special_tokens=True)]
