"""A whole split observed: true, paraphrased and false answers in one forward pass, and what the model answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from mnemotomy.core.errors import DataError
from mnemotomy.core.models import check_language_model
from mnemotomy.observe.answers import AnswerObservations, answer_greedily, observe_answers
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import OPEN_UNLEARNING, Template

_WRITING = 4  # times as many rows where answers are written: there, a row has the logits of one token


@dataclass(frozen=True)
class QuestionObservations:
    """What a model showed on n questions; every metric of the split is a function of it.

    Attributes:
        questions: the texts.
        answer: of the true answers.
        paraphrased: of the paraphrased answers, where there are any.
        perturbed: of the k false answers, those of one question together: n · k rows.
        generated: the model's own answers, where it was asked for them.
    """

    questions: tuple[TextExample, ...]
    answer: AnswerObservations
    paraphrased: AnswerObservations | None = None
    perturbed: AnswerObservations | None = None
    generated: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.questions)


def observe_questions(
    model: nn.Module,
    tokenizer: Any,
    questions: Sequence[TextExample],
    *,
    template: Template = OPEN_UNLEARNING,
    batch_size: int = 32,
    max_new_tokens: int = 200,
) -> QuestionObservations:
    """Forward every answer of every question once, and let the model answer each.

    Args:
        model: a causal language model of transformers.
        tokenizer: the model's.
        questions: of one split.
        template: what stands around them.
        batch_size: the most rows in a batch; four times as many where the model writes.
        max_new_tokens: per answer that the model writes; 0 for no answers.

    Raises:
        DataError: there are no questions, an answer gives no token, or the template does not fit.
        ModelError: the model cannot generate, or lacks some of the tokenizer's tokens.
        NonFiniteError: the model's logits are NaN or infinite.
    """
    if not questions:
        raise DataError("there are no questions to observe")
    check_language_model(model, tokenizer)
    rows = [(one.question, one.answer) for one in questions]
    rows += [(one.question, one.paraphrased_answer) for one in questions if one.paraphrased_answer is not None]
    paraphrased = len(rows)
    rows += [(one.question, false) for one in questions for false in one.perturbed_answers]
    asked, answers = zip(*rows, strict=True)
    found = observe_answers(model, tokenizer, asked, answers, template=template, batch_size=batch_size)
    size = len(questions)
    return QuestionObservations(
        questions=tuple(questions),
        answer=found.select(0, size),
        paraphrased=found.select(size, paraphrased) if paraphrased > size else None,
        perturbed=found.select(paraphrased, len(rows)) if len(rows) > paraphrased else None,
        generated=answer_greedily(
            model,
            tokenizer,
            [one.question for one in questions],
            template=template,
            max_new_tokens=max_new_tokens,
            batch_size=_WRITING * batch_size,
        )
        if max_new_tokens
        else None,
    )
