"""The level of unseen answers: the loss that forgetting aims at, without a gold model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.methods.language.collecting import some
from mnemotomy.methods.language.predictions import predicted_tokens, sequence_log_probabilities
from mnemotomy.methods.language.problem import TextProblem, sequences
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
        start: the loss per token on unseen answers before the edit, in nats.
        problem: what to forget.
        untouched: the questions; none for a constant level.
    """

    start: float
    problem: TextProblem
    untouched: Sequence[Encoded] = ()

    def rise(self, model: nn.Module) -> float:
        """How far the edit has raised the level so far, in nats."""
        return self._loss(model) - self._before if self.untouched else 0.0

    @cached_property
    def _before(self) -> float:
        return self._loss(self.problem.model)

    def _loss(self, model: nn.Module) -> float:
        return float(losses(model, self.untouched, self.problem).mean())


def estimated_level(problem: TextProblem, count: int) -> Level:
    """A level that starts at ``questions_level`` and rises with the loss on retained questions, where there are any.

    Args:
        problem: what to forget.
        count: the most retained questions to read, drawn at random; a difference takes fewer than a level.

    Raises:
        ConfigurationError: the forget set has no questions.
    """
    asked = _asked(problem.retain)
    untouched = sequences(problem, _as_answers(some(asked, count, problem.seed))) if asked else ()
    return Level(questions_level(problem, QUESTIONS), problem, untouched)


def questions_level(problem: TextProblem, count: int) -> float:
    """The model's mean loss per token, in nats, on the forget set's questions, each as the answer to itself.

    A model trained on answers alone never learned to write the questions. They have the same subjects and the same
    style, so its loss on them estimates its loss on unseen answers.

    Args:
        problem: what to forget.
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
