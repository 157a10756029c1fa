"""The level of unseen answers: the loss that forgetting aims at, without a gold model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.methods.language.collecting import some
from mnemotomy.methods.language.predictions import predicted_tokens, sequence_log_probabilities
from mnemotomy.methods.language.problem import TextProblem, answered, sequences
from mnemotomy.text.encoding import Encoded
from mnemotomy.text.records import TextExample

QUESTIONS = 200
"""The most questions of the forget set to estimate a level from."""


def losses(model: nn.Module, rows: Sequence[Encoded], problem: TextProblem) -> Float[Tensor, " n"]:
    """The mean loss of each example's labelled tokens, in nats."""
    return -sequence_log_probabilities(model, rows, problem.tokenizer).cpu() / predicted_tokens(rows)


@dataclass(frozen=True)
class Level:
    """The loss that forgetting aims at, for a model during its edit.

    An edit raises the loss on unseen answers as well. How far is measured on texts that it does not aim at: the retain
    set's questions, each as the answer to itself.

    Attributes:
        start: the loss per token on unseen answers before the edit, in nats; the mean over the forget set.
        problem: what to forget.
        untouched: the questions; none for a constant level.
        answers: a level for each answer, where each has its own.
    """

    start: float
    problem: TextProblem
    untouched: Sequence[Encoded] = ()
    answers: Mapping[str, float] = field(default_factory=dict)

    def of(self, examples: Sequence[TextExample]) -> Float[Tensor, " n"]:
        """The level of each example before the edit."""
        own = [self.answers.get(one.turns[-1].content, self.start) for one in examples]
        return torch.tensor(own, dtype=torch.float64)

    def rise(self, model: nn.Module) -> float:
        """How far the edit has raised the level so far, in nats."""
        return self._loss(model) - self._before if self.untouched else 0.0

    @cached_property
    def _before(self) -> float:
        return self._loss(self.problem.model)

    def _loss(self, model: nn.Module) -> float:
        return float(losses(model, self.untouched, self.problem).mean())


def estimated_level(problem: TextProblem, count: int) -> Level:
    """The loss on answers that the model has never seen, which rises with the loss on retained questions.

    A model that was trained on answers ends them, and has a ``questions_level``. A pretrained model has read questions
    and answers alike, and copies a question that it has just read; its level is that of ``answer_levels``.

    Args:
        count: the most retained questions to read, drawn at random; a difference takes fewer than a level.

    Raises:
        ConfigurationError: the forget set has no questions, or the retain set of a pretrained model has none.
    """
    asked = _asked(problem.retain)
    untouched = sequences(problem, _as_answers(some(asked, count, problem.seed))) if asked else ()
    if problem.ending.counts:
        return Level(questions_level(problem, QUESTIONS), problem, untouched)
    answers = answer_levels(problem, QUESTIONS)
    own = [answers[one.answer] for one in problem.forget if one.form == "question"]
    return Level(sum(own) / len(own), problem, untouched, answers)


def answer_levels(problem: TextProblem, count: int) -> dict[str, float]:
    """The loss per token of each answer to forget where it answers nothing: after retained questions, in nats.

    ``−log mean_q P(a|q) / |a|``: how likely the model thinks the answer where it knows only that something is asked.
    Questions to which it is the answer do not count.

    Args:
        count: about how many questions to read in all, drawn at random; at least 8 for each answer.

    Raises:
        ConfigurationError: there are no questions on one of the sides.
    """
    answers = sorted({one.answer for one in _asked(problem.forget)})
    asked = some(_asked(problem.retain), None, problem.seed)
    found = {}
    for answer in answers:
        others = [one for one in asked if one.answer != answer]
        drawn = some(others, max(8, count // len(answers)), problem.seed)
        rows = [answered(problem, one.question, answer) for one in drawn]
        if not rows:
            break
        logs = sequence_log_probabilities(problem.model, rows, problem.tokenizer).cpu()
        found[answer] = float((math.log(len(rows)) - logs.logsumexp(0)) / predicted_tokens(rows).mean())
    if not found:
        raise ConfigurationError(
            "there are no questions in the forget set or the retain set to estimate the level from; give level, in nats"
        )
    return found


def questions_level(problem: TextProblem, count: int) -> float:
    """The model's mean loss per token, in nats, on the forget set's questions, each as the answer to itself.

    A model trained on answers alone never learned to write the questions. They have the same subjects and the same
    style, so its loss on them estimates its loss on unseen answers.

    Args:
        count: the most questions to read, drawn at random.

    Raises:
        ConfigurationError: the forget set has no questions.
    """
    asked = _asked(problem.forget)
    if not asked:
        raise ConfigurationError("the forget set has no questions to estimate the level from; give level, in nats")
    rows = sequences(problem, _as_answers(some(asked, count, problem.seed)))
    return float(losses(problem.model, rows, problem).mean())


def _asked(examples: Sequence[TextExample]) -> list[TextExample]:
    """Those with a question; a reference that a model wrote may have empty ones."""
    return [one for one in examples if one.form == "question" and one.question.strip()]


def _as_answers(asked: Sequence[TextExample]) -> list[TextExample]:
    """Each question as the answer to itself."""
    return [TextExample.of_question(one.question, one.question, one.where) for one in asked]
