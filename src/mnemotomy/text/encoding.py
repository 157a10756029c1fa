"""From the lines of concept files to batches: which tokens hold content, and padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jinja2 import TemplateError
from torch import Tensor

from mnemotomy.core.errors import DataError
from mnemotomy.text.records import TextExample, Turn
from mnemotomy.text.tokenizing import common_length, padding_token, tokenized

IGNORED = -100  # transformers' label of positions that do not count

DATE = "10 Apr 2025"
"""What a chat template writes as today's date; without one, some write the day's, and numbers change with it."""

Batch = dict[str, Tensor]


class Encoded(NamedTuple):
    """The tokens of one example, and the same with −100 wherever a token is no content."""

    input_ids: list[int]
    labels: list[int]


class _Rendered(NamedTuple):
    """The text that the model reads, where its content stands, and whether the tokenizer is to add BOS and EOS."""

    text: str
    spans: tuple[tuple[int, int], ...]
    add_special_tokens: bool


def batches(
    examples: Iterable[TextExample],
    tokenizer: Any,
    *,
    batch_size: int = 16,
    max_length: int = 512,
    max_tokens: int = 8192,
) -> list[Batch]:
    """Padded batches as ``mnemotomy.collect`` takes them, always in the same order: the longest examples first.

    Args:
        examples: lines of concept files.
        tokenizer: with a padding or an end token.
        batch_size: the most examples in a batch.
        max_length: tokens of an example; what is beyond is cut off.
        max_tokens: the most tokens in a batch, padding included; a longer example is a batch of its own.

    Returns:
        ``input_ids``, ``attention_mask`` and ``labels``, each ``[batch, length]`` and padded on the right.

    Raises:
        DataError: an example has no content that could be kept, the tokenizer has no such token, or a size is below 1.
    """
    if min(batch_size, max_length, max_tokens) < 1:
        raise DataError("batch size, maximum length and tokens per batch must be at least 1")
    encoded = [encode(example, tokenizer, max_length) for example in examples]
    encoded.sort(key=lambda one: len(one.input_ids), reverse=True)  # longest first: too large a batch fails at once
    found, start = [], 0
    while start < len(encoded):
        size = max(1, min(batch_size, max_tokens // len(encoded[start].input_ids)))
        found.append(_pad(encoded[start : start + size], padding_token(tokenizer)))
        start += size
    return found


def encode(example: TextExample, tokenizer: Any, max_length: int) -> Encoded:
    """Tokenise prompt and content together, and label the tokens that hold content.

    A question with its answer is a conversation of two turns where the tokenizer has a chat template, and is joined
    by a space where it has none. A token that straddles the border between prompt and content counts; special tokens
    and the template's text never do.

    Args:
        example: a line of a concept file.
        tokenizer: of transformers.
        max_length: in tokens; what is beyond is cut off.

    Raises:
        DataError: the content gives no token, or none is left after cutting.
    """
    rendered = _render(example, tokenizer)
    locate = _by_offsets if getattr(tokenizer, "is_fast", False) else _by_prefixes
    ids, holds_content = locate(rendered, tokenizer)
    special = set(tokenizer.all_special_ids)
    labels = [
        token if content and token not in special else IGNORED
        for token, content in zip(ids, holds_content, strict=True)
    ]
    first = next((position for position, label in enumerate(labels) if label != IGNORED), None)
    if first is None:
        raise DataError(f"{example.where}: the content gives no token, or only special ones")
    if first >= max_length:
        raise DataError(
            f"{example.where}: the content begins after {first} tokens, and only {max_length} are kept; raise the "
            "maximum length or shorten the prompt"
        )
    return Encoded(ids[:max_length], labels[:max_length])


def _render(example: TextExample, tokenizer: Any) -> _Rendered:
    if example.form == "text":
        text = example.turns[0].content
        return _Rendered(text, ((0, len(text)),), True)
    if getattr(tokenizer, "chat_template", None):
        return _render_chat(example, tokenizer)
    if example.form == "messages":
        raise DataError(
            f"{example.where}: 'messages' need a chat template, which this tokenizer lacks; give 'question' and "
            "'answer', or 'text'"
        )
    question, answer = (turn.content for turn in example.turns)
    prompt = question if question[-1].isspace() or answer[0].isspace() else f"{question} "
    return _Rendered(prompt + answer, ((len(prompt), len(prompt) + len(answer)),), True)


def _render_chat(example: TextExample, tokenizer: Any) -> _Rendered:
    """The conversation through the chat template, and where the assistant's words stand in it.

    A search for the words could find them in a header or in another turn. So the template is filled a second time
    with marks in their place: what lies between the marks is the template's.
    """
    contents = [turn.content for turn in example.turns if turn.role == "assistant"]
    marks = [f"<mnemotomy-content-{i}>" for i in range(len(contents))]
    unused = iter(marks)
    marked = tuple(Turn(turn.role, next(unused)) if turn.role == "assistant" else turn for turn in example.turns)
    text, rest = (_fill(turns, tokenizer, example.where) for turns in (example.turns, marked))
    pieces = []
    for mark in marks:
        piece, _, rest = rest.partition(mark)
        pieces.append(piece)
    spans, position = [], len(pieces[0])
    for content, (before, after) in zip(contents, pairwise([*pieces, rest]), strict=True):
        written = next(
            (
                variant
                for variant in (content, content.strip(), content.rstrip(), content.lstrip())
                if text.startswith(before + variant + after, position - len(before))
            ),
            None,
        )
        if written is None:
            raise DataError(
                f"{example.where}: the chat template rewrites what the assistant says, so that its tokens cannot be "
                "told from the template's; give the line as 'text'"
            )
        spans.append((position, position + len(written)))
        position += len(written) + len(after)
    return _Rendered(text, tuple(spans), False)  # templates write BOS and EOS themselves


def _fill(turns: Sequence[Turn], tokenizer: Any, where: str) -> str:
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, date_string=DATE))
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{where}: the chat template refuses these messages: {error}") from error


def _by_offsets(rendered: _Rendered, tokenizer: Any) -> tuple[list[int], list[bool]]:
    """The tokens, and which of them share a character with the content."""
    encoding = tokenized(
        tokenizer, rendered.text, add_special_tokens=rendered.add_special_tokens, return_offsets_mapping=True
    )
    shares = [
        any(start < last and first < end for first, last in rendered.spans)
        for start, end in encoding["offset_mapping"]  # of length 0 for the tokens that the tokenizer adds
    ]
    return list(encoding["input_ids"]), shares


def _by_prefixes(rendered: _Rendered, tokenizer: Any) -> tuple[list[int], list[bool]]:
    """The same for tokenizers without offsets, by comparing with the tokens of the text up to each border."""

    def tokens(text: str) -> list[int]:
        return list(tokenized(tokenizer, text, add_special_tokens=rendered.add_special_tokens)["input_ids"])

    ids = tokens(rendered.text)
    shares = [False] * len(ids)
    for start, end in rendered.spans:
        first = common_length(ids, tokens(rendered.text[:start]))
        upto = tokens(rendered.text[:end])
        last = common_length(ids, upto)
        last += last < len(upto)  # a token straddles the end
        shares[first:last] = [True] * (last - first)
    return ids, shares


def _pad(encoded: Sequence[Encoded], pad_token: int) -> Batch:
    length = max(len(one.input_ids) for one in encoded)
    # on the right whatever the tokenizer's side: positions then stay right in models that number them naively
    ids = torch.full((len(encoded), length), pad_token)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, IGNORED)
    for row, one in enumerate(encoded):
        size = len(one.input_ids)
        ids[row, :size] = torch.tensor(one.input_ids)
        mask[row, :size] = 1
        labels[row, :size] = torch.tensor(one.labels)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
