"""What every unlearning method for language models is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from mnemotomy.methods.classifiers.base import MethodInfo
from mnemotomy.methods.language.problem import TextProblem


class LanguageMethod(MethodInfo):
    """An unlearning method for language models.

    Attributes:
        draws: whether a result depends on the problem's seed, so that one run does not tell how much is chance.
        needs: what a problem must have beside model, tokenizer and both sets: ``pretrained``, ``questions``.
    """

    draws: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __call__(self, problem: TextProblem) -> nn.Module:
        """A new model that has forgotten, in evaluation mode; the problem's own is left as it was."""

    def material(self) -> Sequence[str]:
        """What is read beside the problem, from files that the settings only name."""
        return ()
