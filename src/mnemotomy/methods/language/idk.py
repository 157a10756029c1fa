"""IdkNLL and IdkDPO: teach the model to answer the questions to forget with "I don't know"."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mnemotomy.core.errors import DataError
from mnemotomy.methods.base import SearchSpace
from mnemotomy.methods.language.gradient import (
    ALPHAS,
    EPOCHS,
    LEARNING_RATES,
    STRONG,
    RetainingMethod,
    StepLoss,
    nll,
    over_tokens,
)
from mnemotomy.methods.language.loop import Step
from mnemotomy.methods.language.preference import Draw, Preference
from mnemotomy.methods.language.problem import TextProblem, answered
from mnemotomy.methods.registry import register
from mnemotomy.text.encoding import Encoded

OURS = Path(__file__).with_name("idontknow.txt")
"""Our own wordings; TOFU's are in its ``idontknow.jsonl``, which is no JSON but one answer per line too."""


def read_refusals(path: str | Path | None = None) -> tuple[str, ...]:
    """The answers of a file with one per line; ours where none is named.

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
        raise DataError(f"{path} holds no refusal; write one per line")
    return found


class Refused:
    """The questions to forget, each with a refusal drawn anew whenever it is asked for, as OpenUnlearning does.

    Raises:
        DataError: an example to forget is no question, or the file of refusals cannot be used.
    """

    def __init__(self, problem: TextProblem, path: str | Path | None) -> None:
        self._problem, self._refusals = problem, read_refusals(path)
        self._questions = [example.question for example in problem.forget]

    def draw(self, step: Step) -> Sequence[Encoded]:
        """The questions of a whole step, refused."""
        chosen = random.Random(f"{step.seed} refusals")
        return [answered(self._problem, self._questions[index], chosen.choice(self._refusals)) for index in step.forget]


@register
@dataclass(frozen=True)
class IdkNLL(RetainingMethod):
    """``γ L_NLL(refusals of X⁺) + α L_retain``; a refusal is drawn anew each time that a question is seen.

    Attributes:
        refusals: a file with one per line, as TOFU's ``idontknow.jsonl``; ours where none is named.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    refusals: str | None = None

    name: ClassVar = "idk-nll"
    title: ClassVar = "IdkNLL"
    paper: ClassVar = "Maini et al. 2024, TOFU: A Task of Fictitious Unlearning for LLMs"
    needs: ClassVar = ("questions",)
    search_space: ClassVar = SearchSpace(
        {"learning_rate": LEARNING_RATES, "alpha": ALPHAS, "epochs": EPOCHS},
        small={"learning_rate": STRONG, "alpha": (1.0,), "epochs": (3,)},
    )

    def material(self) -> Sequence[str]:
        return () if self.refusals is None else read_refusals(self.refusals)

    def forgetting(self, problem: TextProblem) -> StepLoss:
        return over_tokens(Refused(problem, self.refusals).draw, nll(problem))


@register
@dataclass(frozen=True)
class IdkDPO(Preference):
    """`Preference` for refusals, drawn anew each time that a question is seen.

    Attributes:
        refusals: a file with one per line, as TOFU's ``idontknow.jsonl``; ours where none is named.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    refusals: str | None = None

    name: ClassVar = "idk-dpo"
    title: ClassVar = "IdkDPO"
    paper: ClassVar = "Maini et al. 2024, TOFU: A Task of Fictitious Unlearning for LLMs"
    search_space: ClassVar = SearchSpace(
        Preference.search_space.paper, small={"learning_rate": STRONG, "alpha": (1.0,), "epochs": (3,)}
    )

    def material(self) -> Sequence[str]:
        return () if self.refusals is None else read_refusals(self.refusals)

    def preferred(self, problem: TextProblem) -> Draw:
        return Refused(problem, self.refusals).draw
