"""IdkDPO: direct preference optimisation with "I don't know" preferred to the answer to forget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mnemotomy.methods.base import SearchSpace
from mnemotomy.methods.language.gradient import STRONG
from mnemotomy.methods.language.preference import Draw, Preference
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.language.refusals import Refused, read_refusals
from mnemotomy.methods.registry import register


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
