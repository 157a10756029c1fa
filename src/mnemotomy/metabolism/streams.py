"""The two streams made from facts: prompts without context, and with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mnemotomy.core.errors import DataError
from mnemotomy.data.fact import Fact, PromptFormat
from mnemotomy.text.batches import pad_rows
from mnemotomy.text.encoding import IGNORED
from mnemotomy.text.spans import token_positions
from mnemotomy.text.tokenizing import encode_prompt, encode_with_answer, padding_token

LONGEST = 256
"""The most tokens read of a retained text."""


class Sequences(NamedTuple):
    """Texts of one batch, padded on the right.

    Attributes:
        input_ids, attention_mask: ``[n, length]``.
        labels: the answer's token that each position should predict, elsewhere −100.
        last: ``[n]``, the position of the last token before the answer: the prediction step.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    last: Tensor


@dataclass(frozen=True)
class Example:
    """One prompt of one fact: ``fact`` and ``slot`` number them, ``label`` numbers the answer."""

    fact: int
    slot: int
    label: int
    prompt: str
    answer: str


class Streams:
    """All prompts of all facts, and their batches.

    Args:
        facts: checked, with prompts and contexts.
        tokenizer: with a padding or an end token.
        format: how prompts are joined to contexts and answers.
        counterfactuals: share of the contexts that give another fact's answer.
        seed: of order and contexts.
    """

    def __init__(
        self, facts: Sequence[Fact], tokenizer: Any, *, format: PromptFormat, counterfactuals: float, seed: int
    ) -> None:
        self.facts, self.tokenizer, self.format = tuple(facts), tokenizer, format
        self.counterfactuals, self.seed = counterfactuals, seed
        self.answers = sorted({fact.answer for fact in facts})
        if counterfactuals > 0 and len(self.answers) < 2:
            raise DataError("counterfactual contexts need two different answers; add facts, or set counterfactuals=0")
        if counterfactuals > 0:
            for fact in facts:  # fails now, not after hours of training
                fact.saying(next(answer for answer in self.answers if answer != fact.answer))
        self.examples = [
            Example(number, slot, self.answers.index(fact.answer), prompt, fact.answer)
            for number, fact in enumerate(facts)
            for slot, prompt in enumerate(fact.prompts)
        ]
        self._prompts: list[list[int]] = [[] for _ in facts]
        for index, example in enumerate(self.examples):
            self._prompts[example.fact].append(index)

    def without_context(self, indices: Sequence[int]) -> Sequences:
        """``x_no`` of the examples: the prompt and its answer."""
        chosen = [self.examples[index] for index in indices]
        return self._encode([(example.prompt, example.answer) for example in chosen])

    def subject_end(self, index: int) -> int:
        """The position of the last token of the subject in an example without context.

        Raises:
            DataError: the prompt does not contain the subject.
        """
        example = self.examples[index]
        subject, text = self.facts[example.fact].subject, example.prompt + self.format.separator + example.answer
        try:
            return token_positions(self.tokenizer, text, subject, within=example.prompt)[-1]
        except DataError as error:
            raise DataError(f"the edit is made at the subjects: {error}; name the subject in each prompt") from error

    def with_context(self, indices: Sequence[int], step: int) -> Sequences:
        """``x_rag`` of the examples: a context of the fact, drawn anew at each ``step``, then the prompt."""
        draw = random.Random(f"{self.seed} {step}")
        pairs = []
        for index in indices:
            example = self.examples[index]
            fact = self.facts[example.fact]
            if draw.random() < self.counterfactuals:
                fact = fact.saying(draw.choice([answer for answer in self.answers if answer != fact.answer]))
            pairs.append((self.format.join([draw.choice(fact.contexts)], example.prompt), fact.answer))
        return self._encode(pairs)

    def longest(self) -> int:
        """Tokens of the longest prompt with context and answer, without counterfactuals."""
        pairs = [
            (self.format.join([max(fact.contexts, key=len)], max(fact.prompts, key=len)), fact.answer)
            for fact in self.facts
        ]
        return self._encode(pairs).input_ids.shape[1]

    def labels(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The answer (``y_probe``) and the prompt slot of each example, as numbers, ``[n]`` each."""
        chosen = [self.examples[index] for index in indices]
        return torch.tensor([e.label for e in chosen]), torch.tensor([e.slot for e in chosen])

    def order(self, epoch: int, batch_size: int, *, by_slot: bool) -> list[list[int]]:
        """The batches of an epoch as indices of examples: each fact once, with one of its prompts.

        Args:
            epoch: from 0; determines the order and the prompts, which take turns.
            batch_size: the last batch may be smaller.
            by_slot: ask all facts with the prompt of the same slot, for an adversary that compares them; facts with
                fewer prompts start over.
        """
        draw = random.Random(f"{self.seed} order {epoch}")
        chosen, most = [], max(map(len, self._prompts))
        for number, prompts in enumerate(self._prompts):
            count = most if by_slot else len(prompts)
            turn = random.Random(f"{self.seed} turn {epoch // count} {0 if by_slot else number}")
            cycle = turn.sample(range(count), count)
            chosen.append(prompts[cycle[epoch % count] % len(prompts)])
        shuffled = draw.sample(chosen, len(chosen))
        return [shuffled[start : start + batch_size] for start in range(0, len(shuffled), batch_size)]

    def _encode(self, pairs: Sequence[tuple[str, str]]) -> Sequences:
        return encode_answers(pairs, self.tokenizer, self.format.separator)


def encode_answers(pairs: Sequence[tuple[str, str]], tokenizer: Any, separator: str) -> Sequences:
    """Prompts with their answers; the label of each position is the next token, if it is part of the answer.

    Raises:
        DataError: a prompt has no token, or the answer adds none.
    """
    rows, starts = [], []
    for prompt, answer in pairs:
        whole, start = encode_with_answer(tokenizer, prompt, answer, separator)
        rows.append(whole)
        starts.append(start)
    labels = [[IGNORED] * (start - 1) + row[start:] + [IGNORED] for row, start in zip(rows, starts, strict=True)]
    batch = pad_rows(rows, padding_token(tokenizer), labels=labels)
    return Sequences(**batch, last=torch.tensor(starts) - 1)


def encode_texts(texts: Sequence[str], tokenizer: Any, max_length: int = LONGEST) -> Sequences:
    """Texts without labels, cut to ``max_length`` tokens."""
    rows = [encode_prompt(tokenizer, text)[:max_length] for text in texts]
    batch = pad_rows(rows, padding_token(tokenizer), labels=[[IGNORED] * len(row) for row in rows])
    return Sequences(**batch, last=batch["attention_mask"].sum(1) - 1)
