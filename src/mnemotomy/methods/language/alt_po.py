"""AltPO: direct preference optimisation with other, plausible facts preferred to those to forget."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnemotomy.methods.base import SearchSpace
from mnemotomy.methods.language.alternates import Sampling, alternate_answers
from mnemotomy.methods.language.gradient import STRONG
from mnemotomy.methods.language.loop import Step
from mnemotomy.methods.language.preference import Draw, Preference
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.language.refusals import answered
from mnemotomy.methods.registry import register
from mnemotomy.text.encoding import Encoded


@register
@dataclass(frozen=True)
class AltPO(Preference):
    """`Preference` for alternate answers that the problem's own model gives when it is asked for other facts.

    A question is shown with one of its alternates at a time, drawn anew; in the published data, an epoch shows it with
    all five, and takes five times as long.

    Attributes:
        alternates: per question.
        temperature: at which they are sampled.
        max_new_tokens: per alternate.
        file: where they are kept, so that they are sampled once for many configurations.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    alternates: int = 5
    temperature: float = 1.0
    max_new_tokens: int = 200
    file: str | None = None

    name: ClassVar = "alt-po"
    title: ClassVar = "AltPO"
    paper: ClassVar = "Mekala et al. 2025, Alternate Preference Optimization for Unlearning Factual Knowledge in LLMs"
    cost: ClassVar = "5 generations of the forget set; 10 epochs of both sets, forwards and backwards"
    search_space: ClassVar = SearchSpace(
        Preference.search_space.paper,
        small={"learning_rate": STRONG, "alternates": (1,), "max_new_tokens": (100,), "epochs": (3,)},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sampling()

    def preferred(self, problem: TextProblem) -> Draw:
        answers = alternate_answers(problem, self._sampling(), self.file)
        rows = [
            [answered(problem, example.question, answer) for answer in found]
            for example, found in zip(problem.forget, answers, strict=True)
        ]

        def draw(step: Step) -> Sequence[Encoded]:
            chosen = random.Random(f"{step.seed} alternates")
            return [chosen.choice(rows[index]) for index in step.forget]

        return draw

    def _sampling(self) -> Sampling:
        return Sampling(self.alternates, self.temperature, self.max_new_tokens)
