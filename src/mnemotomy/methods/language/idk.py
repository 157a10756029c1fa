"""IdkNLL and IdkDPO: teach the model to answer the forget set's questions with "I don't know"."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mnemotomy.core.errors import DataError
from mnemotomy.methods.language.gradient import (
    ALPHAS,
    EPOCHS,
    LEARNING_RATES,
    STRONG,
    RetainingMethod,
    Rows,
    StepLoss,
    nll,
    over_tokens,
)
from mnemotomy.methods.language.loop import Step
from mnemotomy.methods.language.preference import Preference
from mnemotomy.methods.language.problem import TextProblem, answered
from mnemotomy.methods.registry import register
from mnemotomy.text.encoding import Encoded

_TOFU = "Maini et al. 2024, TOFU: A Task of Fictitious Unlearning for LLMs"
OURS = Path(__file__).with_name("idontknow.txt")
"""Our own wordings; TOFU's ``idontknow.jsonl`` is not JSON either but has one answer per line."""


def read_refusals(path: str | Path | None = None) -> tuple[str, ...]:
    """The answers in a file with one per line; our own by default.

    Raises:
        DataError: the file is missing, unreadable or empty.
    """
    path = OURS if path is None else Path(path)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the refusals of {path}: {error}") from error
    found = tuple(line.strip() for line in lines if line.strip())
    if not found:
        raise DataError(f"{path} has no refusals; write one per line")
    return found


def refused(problem: TextProblem, path: str | Path | None) -> Rows:
    """The questions of a whole step, each with a refusal drawn anew for every step, as in OpenUnlearning.

    Raises:
        DataError: an example to forget is not a question, or the file of refusals cannot be used.
    """
    refusals, questions = read_refusals(path), [example.question for example in problem.forget]

    def draw(step: Step) -> Sequence[Encoded]:
        chosen = random.Random(f"{step.seed} refusals")
        return [answered(problem, questions[index], chosen.choice(refusals)) for index in step.forget]

    return draw


@dataclass(frozen=True)
class Refusing(RetainingMethod):
    """A method that teaches refusals.

    Attributes:
        refusals: a file with one per line, such as TOFU's ``idontknow.jsonl``; our own by default.
    """

    refusals: str | None = None

    needs: ClassVar = ("questions",)

    def material(self) -> Sequence[str]:
        return () if self.refusals is None else read_refusals(self.refusals)


@register(
    "idk-nll",
    "IdkNLL",
    _TOFU,
    grid={"learning_rate": LEARNING_RATES, "alpha": ALPHAS, "epochs": EPOCHS},
    small={"learning_rate": STRONG, "alpha": (1.0,), "epochs": (3,)},
)
class IdkNLL(Refusing):
    """``γ L_NLL(refusals of X⁺) + α L_retain``; a refusal is drawn anew each time a question is seen."""

    def forgetting(self, problem: TextProblem) -> StepLoss:
        return over_tokens(refused(problem, self.refusals), nll(problem))


@register("idk-dpo", "IdkDPO", _TOFU, small={"learning_rate": STRONG, "alpha": (1.0,), "epochs": (3,)})
class IdkDPO(Refusing, Preference):
    """`Preference` for refusals, drawn anew each time a question is seen."""

    def preferred(self, problem: TextProblem) -> Rows:
        return refused(problem, self.refusals)
