"""The input of an unlearning method for language models. Never a test question, never the gold model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from mnemotomy.core.errors import ConceptError, ModelError
from mnemotomy.core.models import check_language_model
from mnemotomy.core.modules import window_of
from mnemotomy.methods.base import Method, Models
from mnemotomy.methods.language.end_token import Ending, EndToken, ending
from mnemotomy.text.encoding import MAX_LENGTH, Encoded, encode
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import OPEN_UNLEARNING, Template


@dataclass(frozen=True)
class TextProblem:
    """One request to forget.

    Attributes:
        model: a causal language model of transformers, trained on both sets; methods do not change it.
        tokenizer: the model's.
        forget: the forget set ``X⁺``.
        retain: the retain set ``X⁻``.
        template: the text around questions and answers, as in the evaluation.
        pretrained: the model before it learned either set, for methods that use what it has learned since.
        seed: for everything a method draws at random.
        folder: for checkpoints and the log of gradient methods; an interrupted run resumes from there.
        end_token: whether the end token is part of an answer; by default, if the model expects it (``end_token``).

    Raises:
        ConceptError: one of the sets is empty.
        ModelError: the model predicts no tokens, lacks some of the tokenizer's, or has an unmerged adapter.
    """

    model: nn.Module
    tokenizer: Any
    forget: Sequence[TextExample]
    retain: Sequence[TextExample]
    template: Template = OPEN_UNLEARNING
    pretrained: nn.Module | None = None
    seed: int = 0
    folder: Path | None = None
    end_token: EndToken = "auto"

    def __post_init__(self) -> None:
        for name, examples in (("forget", self.forget), ("retain", self.retain)):
            if not examples:
                raise ConceptError(f"the {name} set is empty; give at least one example")
        check_language_model(self.model, self.tokenizer)
        if any(type(module).__module__.startswith("peft.") for module in self.model.modules()):
            raise ModelError("the model has an adapter; merge it first, with model.merge_and_unload() of peft")

    @property
    def max_length(self) -> int:
        """The most tokens to read of an example: no more than the model's window."""
        return min(MAX_LENGTH, window_of(self.model) or MAX_LENGTH)

    @cached_property
    def ending(self) -> Ending:
        """Whether the end token is part of an answer."""
        sets = (self.forget, self.retain)
        return ending(self.model, self.tokenizer, sets, self.template, self.end_token, self.max_length)


def sequences(problem: TextProblem, examples: Sequence[TextExample]) -> list[Encoded]:
    """Every example as a row of tokens; labels are what the model should predict, the end token if it counts."""
    longest, ends = problem.max_length, problem.ending.counts
    return [encode(one, problem.tokenizer, problem.template, max_length=longest, end_token=ends) for one in examples]


def answered(problem: TextProblem, question: str, answer: str) -> Encoded:
    """A question with any answer, as a row of tokens."""
    example = TextExample.of_question(question, answer)
    return encode(example, problem.tokenizer, problem.template, end_token=problem.ending.counts)


class LanguageMethod(Method[TextProblem]):
    """An unlearning method for language models."""

    models: ClassVar[Models] = "language models"
