"""Examples as rows of tokens: what is read, and which tokens are to be predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from mnemotomy.core.errors import DataError
from mnemotomy.core.modules import window_of
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.text.answers import Template, encode_answer
from mnemotomy.text.encoding import IGNORED, Encoded, encode
from mnemotomy.text.records import TextExample
from mnemotomy.text.tokenizing import padding_token

Batch = dict[str, Tensor]
MAX_LENGTH = 512
"""Tokens of an example; what is beyond is cut off, as OpenUnlearning does."""


def sequence(
    example: TextExample, tokenizer: Any, template: Template, *, end: bool = True, limit: int = MAX_LENGTH
) -> Encoded:
    """The tokens of one example, and its labels.

    A question with its answer is written as the evaluation writes it: labels are the answer's tokens, with the end
    token, and what a chat template writes behind one, where ``end`` is true. Texts and conversations are labelled as
    everywhere else, without one. Tokens beyond ``limit`` are cut off.

    Raises:
        DataError: an answer gives no token or begins beyond ``limit``, or the template does not fit.
    """
    if example.form != "question":
        return encode(example, tokenizer, limit)
    question, answer = (turn.content for turn in example.turns)
    ids, start = encode_answer(tokenizer, question, answer, template)
    if start >= limit:
        raise DataError(
            f"{example.where}: the answer begins after {start} tokens, and only {limit} are kept; shorten the question"
        )
    labels = [IGNORED] * start + ids[start:]
    if not end:
        final = tokenizer.eos_token_id
        last = ids.index(final, start) if final in ids[start:] else len(ids) - 1
        labels[last:] = [IGNORED] * (len(ids) - last)
    return Encoded(ids[:limit], labels[:limit])


def sequences(problem: TextProblem, examples: Sequence[TextExample], *, end: bool = True) -> list[Encoded]:
    """`sequence` of every example, no longer than the model's window."""
    limit = min(MAX_LENGTH, window_of(problem.model) or MAX_LENGTH)
    return [sequence(example, problem.tokenizer, problem.template, end=end, limit=limit) for example in examples]


def padded(rows: Sequence[Encoded], tokenizer: Any) -> Batch:
    """``input_ids``, ``attention_mask`` and ``labels``, each ``[batch, length]``, padded on the right."""
    length = max(len(row.input_ids) for row in rows)
    ids = torch.full((len(rows), length), padding_token(tokenizer))
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for place, row in enumerate(rows):
        size = len(row.input_ids)
        ids[place, :size] = torch.tensor(row.input_ids)
        mask[place, :size] = 1
        labels[place, :size] = torch.tensor(row.labels)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def sorted_batches(rows: Sequence[Encoded], tokenizer: Any, batch_size: int) -> Iterator[Batch]:
    """Every row once, the longest first, so that little is padding and too large a batch fails at once."""
    order = sorted(rows, key=lambda row: len(row.input_ids), reverse=True)
    for start in range(0, len(order), batch_size):
        yield padded(order[start : start + batch_size], tokenizer)
