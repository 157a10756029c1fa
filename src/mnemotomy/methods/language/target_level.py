"""The level of what was never seen: the loss that forgetting aims at, without a gold model."""

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
"""The most questions of the forget set that a level is estimated from."""


def losses(model: nn.Module, rows: Sequence[Encoded], problem: TextProblem) -> Float[Tensor, " n"]:
    """The mean loss of each example's labelled tokens, in nats."""
    return -sequence_log_probabilities(model, rows, problem.tokenizer).cpu() / predicted_tokens(rows)


def level_of(problem: TextProblem, unseen: Sequence[TextExample]) -> float:
    """The mean loss per token of the problem's model on examples that it never saw, in nats."""
    return float(losses(problem.model, sequences(problem, unseen), problem).mean())


@dataclass(frozen=True)
class Level:
    """What forgetting aims at, for a model that is being edited.

    An edit raises the loss on unseen answers as well. How far is read from texts that it does not aim at: the questions
    of what is to stay, each as the answer to itself.

    Attributes:
        start: the loss per token on what was never seen, of the model before the edit, in nats.
        problem: what to forget.
        untouched: the questions; none for a level that stays where it is.
    """

    start: float
    problem: TextProblem
    untouched: Sequence[Encoded] = ()

    def rise(self, model: nn.Module) -> float:
        """How far the edit by now has raised the level, in nats."""
        return self._loss(model) - self._before if self.untouched else 0.0

    @cached_property
    def _before(self) -> float:
        return self._loss(self.problem.model)

    def _loss(self, model: nn.Module) -> float:
        return float(losses(model, self.untouched, self.problem).mean())


def estimated_level(problem: TextProblem, count: int) -> Level:
    """Starts at ``questions_level`` and rises with the loss on retained questions, where there are any.

    Args:
        problem: what to forget.
        count: the most retained questions to read, drawn at random; a few tell a difference, a level takes more.

    Raises:
        ConfigurationError: the forget set has no questions.
    """
    asked = _asked(problem.retain)
    untouched = sequences(problem, _as_answers(some(asked, count, problem.seed))) if asked else ()
    return Level(questions_level(problem, QUESTIONS), problem, untouched)


def questions_level(problem: TextProblem, count: int) -> float:
    """``level_of`` the forget set's own questions, each given as the answer to itself.

    A model that was trained on answers alone has never learned to write the questions. They are about the same things,
    in the same style, so that its loss on them is an estimate of its loss on unseen answers.

    Args:
        problem: what to forget.
        count: the most questions to read, drawn at random.

    Raises:
        ConfigurationError: the forget set has no questions.
    """
    asked = _asked(problem.forget)
    if not asked:
        raise ConfigurationError("the forget set has no questions to estimate the level from; give level in nats")
    return level_of(problem, _as_answers(some(asked, count, problem.seed)))


def _asked(examples: Sequence[TextExample]) -> list[TextExample]:
    """Those with a question; where a model wrote its own reference, it may be empty."""
    return [one for one in examples if one.form == "question" and one.question.strip()]


def _as_answers(asked: Sequence[TextExample]) -> list[TextExample]:
    """Each question as the answer to itself."""
    return [TextExample.of_question(one.question, one.question, one.where) for one in asked]
