"""Answers to questions by a model that reads facts from a store."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from mnemotomy.core.errors import DataError, ModelError, refuse_one_text
from mnemotomy.data.fact import PromptFormat
from mnemotomy.observe.generation import Continuation, continuations
from mnemotomy.store.calibrate import threshold as calibrated
from mnemotomy.store.retriever import Hit, Retriever, statement
from mnemotomy.text.template import Template
from mnemotomy.text.tokenizing import encode_prompt

UNKNOWN = "I do not know."
_DEPTH = 5
_ASKED = Template()  # as `chat` and `forget` ask

_END = re.compile(
    r"""
    \s*\n                                       # the line ends
    | (?:(?<=[.!?])|(?<=[.!?]["'”’)]))            # or a sentence, behind which another begins
      (?<!\b[A-Z]\.) (?<!\b[A-Z][a-z]\.) (?<!\b[A-Z][a-z]{2}\.)   # but not "U. S.", "St. Petersburg" or "Mrs. Brandt"
      \s+ (?=["'“‘(]?[A-Z])
    | (?<=[。！？])                                # where no space is written
    """,
    re.VERBOSE,
)


def answer_alone(written: str) -> str:
    """What a base model wrote, up to where its answer ends; it has no end token for answers, and writes on.

    An answer ends with its first line, or earlier with a sentence behind which another begins. A text that begins
    with line breaks is read without them.
    """
    return _END.split(written.strip(), maxsplit=1)[0]


@dataclass(frozen=True)
class Answer:
    """An answer and its sources.

    Attributes:
        text: what the model wrote; ``answer_alone`` cuts off what a base model writes behind the answer.
        known: whether the store has a fact about the question; if not, the model was not run.
        hits: the facts that the model read, best first.
        prompt: the model's input; empty if it was not run.
        threshold: the relevance that a fact needed.
        nearest: the best fact if none had that relevance; None if one had, or if none shares a word with the question.
        cut: whether ``max_new_tokens`` ended the text.
    """

    text: str
    known: bool
    hits: tuple[Hit, ...]
    prompt: str
    threshold: float = 0.0
    nearest: Hit | None = None
    cut: bool = False


class Reader:
    """A model with a store: look facts up, put them into the context, answer.

    Args:
        model: a causal language model of transformers.
        tokenizer: the model's.
        store: a ``FactStore`` or another retriever.
        format: how facts and question are joined, as in the model's training.
        facts_per_question: the most facts in the context.
        threshold: the relevance that a fact needs; by default calibrated on the store.
        max_new_tokens: the longest answer.
        chat: use the tokenizer's chat template, with the system message of ``Template()``.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        store: Retriever,
        *,
        format: PromptFormat | None = None,
        facts_per_question: int = 1,
        threshold: float | None = None,
        max_new_tokens: int = 16,
        chat: bool = False,
    ) -> None:
        if facts_per_question < 1 or max_new_tokens < 1:
            raise DataError("facts_per_question and max_new_tokens must be at least 1")
        if threshold is not None and math.isnan(threshold):
            raise DataError("the threshold is not a number; give the relevance that a fact needs, such as 0.5")
        if chat and not getattr(tokenizer, "chat_template", None):
            raise ModelError("the tokenizer has no chat template; ask without chat")
        self.store = store
        self.format = format or PromptFormat()
        self.facts_per_question = facts_per_question
        self._model, self._tokenizer = model, tokenizer
        self._threshold, self._max_new_tokens, self._chat = threshold, max_new_tokens, chat

    @property
    def threshold(self) -> float:
        """The relevance that a fact needs."""
        if self._threshold is not None:
            return self._threshold
        return calibrated(self.store) if len(self.store) else 0.0

    def ask(self, question: str) -> Answer:
        """Answer from the store.

        Raises:
            DataError: the question is empty.
        """
        return self.ask_many([question])[0]

    def ask_many(self, questions: Sequence[str]) -> list[Answer]:
        """Answer each question from the store, many in one batch."""
        refuse_one_text(questions, "questions")
        least = self.threshold
        found = [self._retrieve(question) for question in questions]
        read = [tuple(hit for hit in hits if hit.relevance >= least)[: self.facts_per_question] for hits in found]
        prompts = [self._prompt(question, hits) if hits else "" for question, hits in zip(questions, read, strict=True)]
        written = iter(self._continue([prompt for prompt in prompts if prompt]))
        answers = []
        for prompt, hits, near in zip(prompts, read, found, strict=True):
            if prompt:
                one = next(written)
                answers.append(Answer(one.text.strip(), True, hits, prompt, least, cut=one.cut))
            else:
                nearest = max(near, key=lambda hit: hit.relevance, default=None)
                answers.append(Answer(UNKNOWN, False, (), "", least, nearest=nearest))
        return answers

    def recall(self, question: str) -> str:
        """The model's own answer, without the store."""
        return self.recall_many([question])[0]

    def recall_many(self, questions: Sequence[str]) -> list[str]:
        """The model's own answer to each question, without the store."""
        refuse_one_text(questions, "questions")
        written = self._continue([self._prompt(question, ()) for question in questions])
        return [one.text.strip() for one in written]

    def _retrieve(self, question: str) -> list[Hit]:
        return self.store.search(question, max(_DEPTH, self.facts_per_question))

    def _prompt(self, question: str, hits: Sequence[Hit]) -> str:
        prompt = self.format.join([statement(hit.fact) for hit in hits], question)
        # the separator's words belong to the prompt, its trailing spaces to the answer's first token
        prompt += self.format.separator.rstrip()
        if not self._chat:
            return prompt
        return _ASKED.fill(self._tokenizer, _ASKED.asked(prompt), prompt=True)

    def _continue(self, prompts: Sequence[str]) -> list[Continuation]:
        if not prompts:
            return []
        tokens = [encode_prompt(self._tokenizer, prompt, special_tokens=not self._chat) for prompt in prompts]
        return [one for (one,) in continuations(self._model, self._tokenizer, tokens, self._max_new_tokens)]
