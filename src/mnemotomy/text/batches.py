"""From lines of text data to padded batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mnemotomy.core.errors import DataError
from mnemotomy.text.encoding import IGNORED, MAX_LENGTH, Encoded, Positions, check_positions, encode
from mnemotomy.text.records import TextExample, example_of, read_examples
from mnemotomy.text.template import OPEN_UNLEARNING, Template
from mnemotomy.text.tokenizing import padding_token

BATCH_SIZE = 32
"""Examples in a forward pass that collects moments."""

MAX_TOKENS = 8192
"""Tokens in such a batch, padding included."""

Batch = dict[str, Tensor]
Source = str | Path | Iterable[TextExample | Mapping[str, Any] | str]


def batches(
    tokenizer: Any,
    examples: Source,
    *,
    template: Template = OPEN_UNLEARNING,
    positions: Positions = "answer",
    batch_size: int = BATCH_SIZE,
    max_length: int = MAX_LENGTH,
    max_tokens: int = MAX_TOKENS,
) -> list[Batch]:
    """Padded batches for ``mnemotomy.collect``, always in the same order: the longest examples first.

    Commands, recipes and methods all call this function: the same lines and settings give the same moments.

        mt.collect(model, {"alice": mt.batches(tokenizer, "alice.jsonl"), "rest": mt.batches(tokenizer, rest)})

    Args:
        tokenizer: of transformers, with a padding or an end token.
        examples: a JSON Lines file, or its lines: objects with ``text``, with ``question`` and ``answer``, or with
            ``messages``; a string is a plain text.
        template: a chat template's system message and date, or the tags for tokenizers without one.
        positions: which tokens enter the moments: ``answer``, ``predicting`` or ``all`` (``encoding.Positions``).
        batch_size: the most examples in a batch.
        max_length: the most tokens of an example; the rest is cut off.
        max_tokens: the most tokens in a batch, padding included; a longer example gets its own batch.

    Returns:
        ``input_ids``, ``attention_mask`` and ``labels``, each ``[batch, length]`` and padded on the right; ``labels``
        are −100 where a token does not enter the moments.

    Raises:
        DataError: the file or a line is malformed, no content of an example is left, the tokenizer has neither token,
            or a size is below 1.
        ConfigurationError: the positions are unknown.
    """
    if min(batch_size, max_length, max_tokens) < 1:
        raise DataError("batch size, maximum length and tokens per batch must be at least 1")
    check_positions(positions)
    encoded = [encode(example, tokenizer, template, max_length=max_length) for example in examples_of(examples)]
    encoded.sort(
        key=lambda one: len(one.input_ids), reverse=True
    )  # longest first: a batch that is too large fails at once
    found, start = [], 0
    while start < len(encoded):
        size = max(1, min(batch_size, max_tokens // len(encoded[start].input_ids)))
        found.append(padded(encoded[start : start + size], tokenizer, positions))
        start += size
    return found


def padded(rows: Sequence[Encoded], tokenizer: Any, positions: Positions | None = None) -> Batch:
    """``input_ids``, ``attention_mask`` and ``labels``, each ``[batch, length]``, padded on the right.

    Args:
        tokenizer: with a padding or an end token.
        positions: the tokens that ``labels`` mark; by default those to be predicted.
    """
    labels = [row.labels if positions is None else row.marked(positions) for row in rows]
    return pad_rows([row.input_ids for row in rows], padding_token(tokenizer), labels=labels)


def pad_rows(
    rows: Sequence[Sequence[int]],
    pad: int,
    *,
    labels: Sequence[Sequence[int]] | None = None,
    left: bool = False,
    device: torch.device | None = None,
) -> Batch:
    """``input_ids`` and ``attention_mask``, and ``labels`` if given, each ``[batch, length]``.

    Padded on the right whatever the tokenizer's side is, so that models that count positions naively count right.

    Args:
        pad: the padding token.
        labels: one for each token.
        left: pad on the left, for texts to be continued.
    """
    parts = {"input_ids": (rows, pad), "attention_mask": ([[1] * len(row) for row in rows], 0)}
    if labels is not None:
        parts["labels"] = (labels, IGNORED)
    side = "left" if left else "right"
    return {
        name: pad_sequence(
            [torch.tensor(row, dtype=torch.long) for row in values], True, padding_value=fill, padding_side=side
        ).to(device)
        for name, (values, fill) in parts.items()
    }


def equal_lengths(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Indices in groups of one length and at most ``size``, so that no batch needs padding; the shortest first."""
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        by_length.setdefault(length, []).append(index)
    for length in sorted(by_length):
        indices = by_length[length]
        for start in range(0, len(indices), size):
            yield indices[start : start + size]


def similar_lengths(lengths: Sequence[int], size: int, slack: float = 1.1) -> Iterator[list[int]]:
    """Indices in groups of at most ``size``, the longest at most ``slack`` times the shortest; the shortest first."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    start = 0
    while start < len(order):
        limit = slack * lengths[order[start]]
        stop = start
        while stop < min(len(order), start + size) and lengths[order[stop]] <= limit:
            stop += 1
        yield order[start:stop]
        start = stop


def examples_of(source: Source) -> list[TextExample]:
    """The examples of a JSON Lines file, or of its lines.

    Raises:
        DataError: the file is missing, empty or unreadable, or a line is malformed.
    """
    if isinstance(source, str | Path):
        return read_examples(source)
    rows = ({"text": one} if isinstance(one, str) else one for one in source)
    return [
        row if isinstance(row, TextExample) else example_of(row, f"example {number}")
        for number, row in enumerate(rows, start=1)
    ]
