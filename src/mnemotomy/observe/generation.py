"""Answers of more than one token."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, cast

from torch import nn

from mnemotomy.core.errors import DataError, ModelError
from mnemotomy.core.models import check_language_model, quiet_transformers
from mnemotomy.core.modules import device_of, observing, window_of
from mnemotomy.observe.greedy import supports_dropping_rows, write_greedily
from mnemotomy.text.batches import pad_rows
from mnemotomy.text.tokenizing import encode_prompts


def continue_greedily(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[str],
    max_new_tokens: int,
    *,
    batch_size: int = 32,
    special_tokens: bool = True,
) -> list[str]:
    """What the model writes after each prompt when it always takes the likeliest token.

    Nothing else has a say: the sampling and the repetition penalty that a model's folder may bring are off.

    Args:
        model: a causal language model of transformers.
        tokenizer: the model's, with a padding token.
        prompts: of any length; the batches are padded on the left.
        max_new_tokens: per prompt; an end token ends earlier, and so does the model's window.
        batch_size: the most prompts in a batch.
        special_tokens: whether the tokenizer adds its own; not where a chat template has done so.

    Returns:
        The new text alone, without special tokens, in the order of the prompts.

    Raises:
        DataError: there are no prompts, or the tokenizer has no padding token.
        ModelError: the model cannot generate, or its window leaves no room.
    """
    check_writes(model, tokenizer)
    encoded = encode_prompts(tokenizer, prompts, special_tokens=special_tokens)
    rooms = [room_after(model, len(tokens), max_new_tokens) for tokens in encoded]
    texts = [""] * len(encoded)
    ends, quick = end_tokens(model, tokenizer), supports_dropping_rows(model)
    with observing(model), quiet_transformers():
        for indices in _batches([len(tokens) for tokens in encoded], rooms, batch_size):
            batch = pad_rows(
                [encoded[index] for index in indices], tokenizer.pad_token_id, left=True, device=device_of(model)
            )
            room = rooms[indices[0]]
            if quick:
                written = write_greedily(model, **batch, ends=ends, max_new_tokens=room)
            else:
                config = _greedy(tokenizer, room, ends)
                with ignoring_saved_generation_config(model):
                    found = cast(Any, model).generate(**batch, generation_config=config)
                written = found[:, batch["input_ids"].shape[1] :].tolist()
            for index, tokens in zip(indices, written, strict=True):
                texts[index] = tokenizer.decode(tokens, skip_special_tokens=True)
    return texts


def _batches(lengths: Sequence[int], rooms: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Indices by length, as neighbours need little padding; together only what has as much room to write in."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    for _, alike in itertools.groupby(order, key=lambda index: rooms[index]):
        indices = list(alike)
        yield from (indices[start : start + batch_size] for start in range(0, len(indices), batch_size))


def check_writes(model: nn.Module, tokenizer: Any) -> None:
    """Refuse what cannot write.

    Raises:
        DataError: the tokenizer has no padding token.
        ModelError: the model cannot generate, or lacks some of the tokenizer's tokens.
    """
    if not hasattr(model, "generate"):
        raise ModelError(f"{type(model).__name__} cannot generate; load a causal language model of transformers")
    if tokenizer.pad_token_id is None:
        raise DataError("the tokenizer has no padding token; set its pad_token")
    check_language_model(model, tokenizer)


def room_after(model: nn.Module, length: int, wanted: int) -> int:
    """How many tokens can follow a prompt, at most so many as are wanted.

    Raises:
        ModelError: the model's window leaves no room.
    """
    window = window_of(model)
    room = wanted if window is None else min(wanted, window - length)
    if room < 1:
        raise ModelError(f"the model's window of {window} tokens leaves no room after a prompt of {length}")
    return room


def end_tokens(model: nn.Module, tokenizer: Any) -> list[int]:
    """The model's own end tokens; the tokenizer's where it names none."""
    end = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    end = tokenizer.eos_token_id if end is None else end
    return [] if end is None else [end] if isinstance(end, int) else list(end)


@contextlib.contextmanager
def ignoring_saved_generation_config(model: nn.Module) -> Iterator[None]:
    """Leave out what a model's folder says of generation, from which transformers takes what a call leaves open."""
    from transformers import GenerationConfig

    owner: Any = cast(Any, model).get_base_model() if hasattr(model, "get_base_model") else model  # inside peft's
    said = getattr(owner, "generation_config", None)
    owner.generation_config = GenerationConfig()
    try:
        yield
    finally:
        owner.generation_config = said


def _greedy(tokenizer: Any, max_new_tokens: int, ends: list[int]) -> Any:
    from transformers import GenerationConfig

    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=ends or None,
    )
