"""Answers that say nothing, for the methods that teach a model to say that it does not know."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from mnemotomy.core.errors import DataError
from mnemotomy.methods.language.loop import Step
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.text.encoding import Encoded, encode
from mnemotomy.text.records import TextExample

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


def answered(problem: TextProblem, question: str, answer: str) -> Encoded:
    """A question with an answer of our choice, as a row of tokens."""
    return encode(TextExample.of_question(question, answer), problem.tokenizer, problem.template)


class Refused:
    """The questions to forget, each with a refusal drawn anew whenever it is asked for, as OpenUnlearning does.

    Raises:
        DataError: an example to forget is no question, or the file of refusals cannot be used.
    """

    def __init__(self, problem: TextProblem, path: str | Path | None) -> None:
        self._problem, self._refusals = problem, read_refusals(path)
        self._questions = [example.question for example in problem.forget]

    def draw(self, step: Step) -> Sequence[Encoded]:
        """The step's questions, refused."""
        chosen = random.Random(f"{step.seed} refusals")
        return [answered(self._problem, self._questions[index], chosen.choice(self._refusals)) for index in step.forget]
