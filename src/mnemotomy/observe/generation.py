"""What a model writes, greedily or sampled."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from mnemotomy.core.errors import DataError, ModelError
from mnemotomy.core.models import check_language_model, quiet_transformers
from mnemotomy.core.modules import device_of, observing, window_of
from mnemotomy.core.seeds import mix, seeded
from mnemotomy.observe.sampling import Sampling
from mnemotomy.observe.shared_rows import supports_dropping_rows, write
from mnemotomy.text.batches import pad_rows
from mnemotomy.text.tokenizing import encode_prompt


def continue_greedily(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[str],
    max_new_tokens: int,
    *,
    batch_size: int = 32,
    special_tokens: bool = True,
) -> list[str]:
    """What the model writes greedily after each prompt.

    The sampling and the repetition penalty in the model's folder are off.

    Args:
        prompts: of any length; the batches are padded on the left.
        max_new_tokens: per prompt; an end token or the model's window stops earlier.
        special_tokens: whether the tokenizer adds its own; not after a chat template, which has done so.

    Returns:
        The new texts, without special tokens, in the order of the prompts.

    Raises:
        DataError: there are no prompts, or the tokenizer has no padding token.
        ModelError: the model cannot generate, or its window leaves no room.
    """
    if not prompts:
        raise DataError("there are no prompts; give at least one")
    encoded = [encode_prompt(tokenizer, prompt, special_tokens=special_tokens) for prompt in prompts]
    texts = continue_tokens(model, tokenizer, encoded, max_new_tokens, batch_size=batch_size)
    return [text for (text,) in texts]


def continue_tokens(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    batch_size: int = 32,
    sampling: Sampling | None = None,
) -> list[list[str]]:
    """What the model writes after each prompt, which is given as tokens: one greedy text, or several drawn ones.

    Args, errors: as ``continue_greedily``; ``batch_size`` counts texts.
    """
    found = continuations(model, tokenizer, prompts, max_new_tokens, batch_size=batch_size, sampling=sampling)
    return [[one.text for one in some] for some in found]


class Continuation(NamedTuple):
    """A text without special tokens, and whether the limit on its tokens ended it."""

    text: str
    cut: bool


def continuations(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    batch_size: int = 32,
    sampling: Sampling | None = None,
) -> list[list[Continuation]]:
    """As ``continue_tokens``, with what ended each text."""
    check_writes(model, tokenizer)
    rooms = [room_after(model, len(tokens), max_new_tokens) for tokens in prompts]
    texts: list[list[Continuation]] = [[] for _ in prompts]
    ends, quick = end_tokens(model, tokenizer), supports_dropping_rows(model)
    samples = 1 if sampling is None else sampling.samples
    with observing(model), quiet_transformers():
        for places in _batches([len(tokens) for tokens in prompts], rooms, max(1, batch_size // samples)):
            rows, room = [prompts[place] for place in places], rooms[places[0]]
            batch = pad_rows(rows, tokenizer.pad_token_id, left=True, device=device_of(model))
            if quick:
                written = write(model, **batch, ends=ends, max_new_tokens=room, sampling=sampling, prompts=places)
            else:
                written = _generate(model, tokenizer, batch, room, sampling, places)
            for number, tokens in enumerate(written):
                cut = len(tokens) == room and not set(ends).intersection(tokens)
                text = tokenizer.decode(tokens, skip_special_tokens=True)
                texts[places[number // samples]].append(Continuation(text, cut))
    return texts


def _generate(
    model: nn.Module, tokenizer: Any, batch: Any, room: int, sampling: Sampling | None, places: Sequence[int]
) -> list[list[int]]:
    """By transformers, for models that ``write`` does not know."""
    from transformers import GenerationConfig

    drawn: dict[str, Any] = {"do_sample": False}
    if sampling is not None:
        nucleus = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        drawn = {"do_sample": True, "num_return_sequences": sampling.samples, **nucleus}
    ends = end_tokens(model, tokenizer) or None
    config = GenerationConfig(max_new_tokens=room, pad_token_id=tokenizer.pad_token_id, eos_token_id=ends, **drawn)
    seed = None if sampling is None else mix(sampling.seed, *places)
    with ignoring_saved_generation_config(model), seeded(seed, device_of(model)):
        found = cast(Any, model).generate(**batch, generation_config=config)
    rows: list[list[int]] = found[:, batch["input_ids"].shape[1] :].tolist()
    return rows


def _batches(lengths: Sequence[int], rooms: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Indices by length, so that a batch needs little padding; all rows of a batch have the same room."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    for _, alike in itertools.groupby(order, key=lambda index: rooms[index]):
        indices = list(alike)
        yield from (indices[start : start + batch_size] for start in range(0, len(indices), batch_size))


def check_writes(model: nn.Module, tokenizer: Any) -> None:
    """Refuse a model or tokenizer that cannot write.

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
    """How many tokens can follow a prompt, at most ``wanted``.

    Raises:
        ModelError: the model's window leaves no room.
    """
    window = window_of(model)
    room = wanted if window is None else min(wanted, window - length)
    if room < 1:
        raise ModelError(f"the model's window of {window} tokens leaves no room after a prompt of {length}; shorten it")
    return room


def end_tokens(model: nn.Module, tokenizer: Any) -> list[int]:
    """The model's end tokens, or the tokenizer's if the model names none."""
    end = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    end = tokenizer.eos_token_id if end is None else end
    return [] if end is None else [end] if isinstance(end, int) else list(end)


@contextlib.contextmanager
def ignoring_saved_generation_config(model: nn.Module) -> Iterator[None]:
    """Generate by the call's settings alone; else transformers fills them up from the model's folder."""
    from transformers import GenerationConfig

    owner: Any = cast(Any, model).get_base_model() if hasattr(model, "get_base_model") else model  # inside peft's
    said = getattr(owner, "generation_config", None)
    owner.generation_config = GenerationConfig()
    try:
        yield
    finally:
        owner.generation_config = said


def continue_sampled(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    ends: Sequence[int] = (),
) -> list[str]:
    """What the model writes after each prompt, sampled with torch's global generator, without surrounding space.

    Args:
        prompts: tokens, in one batch.
        max_new_tokens: per prompt; fewer if the model's window ends.
        temperature: of the softmax; nothing else changes it.
        ends: tokens that end a text, besides the model's own; they are not part of it.

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
        top_k=0,  # else transformers keeps the 50 likeliest
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=[*end_tokens(model, tokenizer), *ends] or None,
    )
    batch = pad_rows(prompts, tokenizer.pad_token_id, left=True, device=device_of(model))
    with observing(model), quiet_transformers(), ignoring_saved_generation_config(model):
        written = cast(Any, model).generate(**batch, generation_config=config)[:, longest:]
    stops = torch.tensor(list(ends), dtype=torch.long, device=written.device)
    # decoding keeps an end that is not a special token
    rows = [row[: int(torch.isin(row, stops).int().argmax())] if bool(torch.isin(row, stops).any()) else row
            for row in written]  # fmt: skip
    return [str(text).strip() for text in tokenizer.batch_decode(rows, skip_special_tokens=True)]
