"""What every unlearning method for language models is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import nn

from mnemotomy.methods.base import Published
from mnemotomy.methods.language.problem import TextProblem

Family = Literal["closed form", "gradient", "hybrid"]


class LanguageMethod(Published):
    """An unlearning method for language models.

    Attributes:
        family: ``closed form`` adds one or a few terms to the weights, which no optimiser follows; ``hybrid`` has one
            start from there.
        draws: whether a result depends on the problem's seed, so that one run does not tell how much is chance.
        cost: what it takes, in passes over the examples, as ``mnemotomy methods`` shows it.
        needs: what a problem must have beside model, tokenizer and both sets: ``pretrained``, ``questions``.
    """

    family: ClassVar[Family]
    cost: ClassVar[str]
    draws: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __call__(self, problem: TextProblem) -> nn.Module:
        """A new model that has forgotten, in evaluation mode; the problem's own is left as it was."""

    def material(self) -> Sequence[str]:
        """What is read beside the problem, from files that the settings only name."""
        return ()
