"""What the logits at an answer's tokens show; each answer is forwarded with its own prompt or after a shared one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mnemotomy.core.errors import NonFiniteError
from mnemotomy.core.modules import device_of
from mnemotomy.observe.shared_rows import supports_dropping_rows
from mnemotomy.text.batches import pad_rows, similar_lengths
from mnemotomy.text.encoding import IGNORED, Encoded

Shown = Float[Tensor, "4 tokens"]
"""Log-probability, hit, mean and deviation of every token; see ``answers.AnswerObservations``."""

CHUNK = 256  # with logits in float32 at the same time: a vocabulary can be large
_BATCHES = 8  # of prompts in memory at the same time, so that answers of similar length meet


def read_one_by_one(model: nn.Module, encoded: Sequence[Encoded], batch_size: int) -> list[Shown]:
    """Every answer after its own prompt; the padding is on the right, where attention never looks."""
    found: dict[int, Shown] = {}
    for indices in similar_lengths([len(one.input_ids) for one in encoded], batch_size):
        batch = [encoded[index] for index in indices]
        found |= zip(indices, _read_batch(model, batch).split([len(one.answer) for one in batch], dim=1), strict=True)
    return [found[index] for index in range(len(encoded))]


def shares_prompts(model: nn.Module, encoded: Sequence[Encoded]) -> bool:
    """Whether some answers share a prompt, and they can share the model's cache."""
    return len({_prompt(one) for one in encoded}) < len(encoded) and supports_dropping_rows(model)


def read_sharing_prompts(model: nn.Module, encoded: Sequence[Encoded], batch_size: int) -> list[Shown]:
    """Each prompt forwarded once, and every answer after its keys and values.

    Args:
        model: in evaluation mode; ``shares_prompts`` must be true.
    """
    found: dict[int, Shown] = {}
    for prompts in _groups(encoded, _BATCHES * batch_size):
        cache, mask, last = _forward_prompts(model, list(prompts))
        rows = [(index, place) for place, indices in enumerate(prompts.values()) for index in indices]
        lengths = [len(_tail(encoded[index])) for index, _ in rows]
        for some in similar_lengths(lengths, batch_size):
            indices, places = zip(*(rows[one] for one in some), strict=True)
            batch, at = [encoded[index] for index in indices], torch.tensor(places, device=mask.device)
            shown = _read_behind(model, batch, _repeated(model, cache, at), mask[at], last[at])
            found |= zip(indices, shown.split([len(one.answer) for one in batch], dim=1), strict=True)
    return [found[index] for index in range(len(encoded))]


def _tail(one: Encoded) -> list[int]:
    """The tokens from the first to be predicted on."""
    return one.input_ids[one.start :]


def _prompt(one: Encoded) -> tuple[int, ...]:
    return tuple(one.input_ids[: one.start])


def _groups(encoded: Sequence[Encoded], rows: int) -> Iterator[dict[tuple[int, ...], list[int]]]:
    """The indices of the answers by prompt, in groups of about ``rows`` answers and of prompts of similar length."""
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for index, one in enumerate(encoded):
        by_prompt.setdefault(_prompt(one), []).append(index)
    group: dict[tuple[int, ...], list[int]] = {}
    count = 0
    for prompt in sorted(by_prompt, key=len):
        group[prompt] = by_prompt[prompt]
        count += len(group[prompt])
        if count >= rows:
            yield group
            group, count = {}, 0
    if group:
        yield group


def _forward_prompts(model: nn.Module, prompts: Sequence[tuple[int, ...]]) -> tuple[Any, Tensor, Tensor]:
    """The cache of the prompts, padded on the left, their mask, and the logits at their last token."""
    from transformers import DynamicCache

    cache = DynamicCache(config=cast(Any, model).config)
    batch = pad_rows(prompts, prompts[0][0], left=True, device=device_of(model))  # the padding is masked
    mask = batch["attention_mask"]
    last = model(
        **batch,
        position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    return cache, mask, last


def _repeated(model: nn.Module, cache: Any, places: Int[Tensor, " rows"]) -> Any:
    """A separate cache with the rows at ``places``, repeats included."""
    from transformers import DynamicCache

    layers = [(layer.keys[places], layer.values[places]) for layer in cache.layers]
    return DynamicCache(layers, config=cast(Any, model).config)


def _read_behind(
    model: nn.Module,
    batch: Sequence[Encoded],
    cache: Any,
    mask: Int[Tensor, "rows prompt"],
    last: Float[Tensor, "rows vocabulary"],
) -> Shown:
    """The answers after the prompts in ``cache``; ``last`` predicts the first token of each."""
    inputs = [_tail(one)[:-1] for one in batch]
    length = max(map(len, inputs))
    ids = pad_rows(inputs, 0, device=mask.device)["input_ids"]  # any token will do as padding
    logits = model(
        input_ids=ids,
        attention_mask=torch.cat([mask, torch.ones_like(ids)], dim=1),
        position_ids=mask.sum(dim=1, keepdim=True) + torch.arange(length, device=ids.device),
        past_key_values=cache,
        use_cache=True,
    ).logits
    first = _read(last, torch.tensor([one.answer[0] for one in batch], device=ids.device))
    wanted = pad_rows([one.labels[one.start + 1 :] for one in batch], IGNORED, device=ids.device)["input_ids"]
    rows, columns = (wanted != IGNORED).nonzero(as_tuple=True)
    sizes = [len(one.answer) - 1 for one in batch]
    rest = _read_at(logits, rows, columns, wanted[rows, columns]).split(sizes, dim=1)
    parts = [part for place, own in enumerate(rest) for part in (first[:, place : place + 1].cpu(), own)]
    return torch.cat(parts, dim=1)


def _read_batch(model: nn.Module, batch: Sequence[Encoded]) -> Shown:
    length = max(len(one.input_ids) for one in batch)
    # any token will do as padding: attention is causal
    ids = pad_rows([one.input_ids for one in batch], 0, device=device_of(model))["input_ids"]
    wanted = min(one.start for one in batch) - 1  # the first position that predicts a token of an answer
    # with a large vocabulary, the prompt's logits would take the most memory
    shortens = "logits_to_keep" in inspect.signature(model.forward).parameters
    tail = {"logits_to_keep": length - wanted} if shortens else {}
    logits = model(input_ids=ids, use_cache=False, **tail).logits[:, wanted - length : -1]
    targets = pad_rows([one.labels for one in batch], IGNORED, device=ids.device)["input_ids"][:, wanted + 1 :]
    rows, columns = (targets != IGNORED).nonzero(as_tuple=True)
    return _read_at(logits, rows, columns, targets[rows, columns])


def _read_at(logits: Tensor, rows: Tensor, columns: Tensor, targets: Tensor) -> Shown:
    """``_read`` at some places of a batch, a few at a time."""
    parts = [
        _read(logits[row, column], target)
        for row, column, target in zip(rows.split(CHUNK), columns.split(CHUNK), targets.split(CHUNK), strict=True)
    ]
    return torch.cat(parts, dim=1).cpu()


def _read(logits: Float[Tensor, "tokens vocabulary"], targets: Int[Tensor, " tokens"]) -> Float[Tensor, "4 tokens"]:
    """Takes few passes over the logits, relative to the likeliest token's, and overwrites them."""
    logits = logits.float()
    highest, likeliest = logits.max(dim=-1)
    shifted = logits.sub_(highest[:, None])
    own = shifted.gather(1, targets[:, None])[:, 0]
    weights = shifted.exp()
    total = weights.sum(dim=-1)
    mean = weights.mul_(shifted).sum(dim=-1) / total
    square = weights.mul_(shifted).sum(dim=-1) / total
    normaliser = total.log()
    deviation = (square - mean.square()).clamp(min=0.0).sqrt()
    found = torch.stack([own - normaliser, (likeliest == targets).float(), mean - normaliser, deviation])
    if not torch.isfinite(found).all():
        raise NonFiniteError(
            "the model's logits are NaN or infinite; the edit has broken the model; choose a weaker one"
        )
    return found
