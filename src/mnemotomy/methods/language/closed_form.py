"""What the closed-form methods share: moments, an atlas and one edit, in one or more rounds."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mnemotomy.core.bounded import check_count
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.cut import RelativeCut
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.moments import Moments
from mnemotomy.methods.base import Family
from mnemotomy.methods.language.collecting import Collecting
from mnemotomy.methods.language.problem import LanguageMethod, TextProblem

ONE_PASS = "1 forward pass of both sets"


@dataclass(frozen=True, kw_only=True)
class ClosedForm(Collecting, LanguageMethod):
    """A method that edits by the engrams of both sets.

    An output head that is tied to the embedding is untied, so that an edit of one does not edit the other.

    Attributes:
        cut: directions of Σ_total below ``cut · λ_max`` are not edited (Appendix B.3: 1e-6).
        rounds: how often to collect and erase.
    """

    cut: float = 1e-6
    rounds: int = 1

    family: ClassVar[Family] = "closed form"
    cost: ClassVar = ONE_PASS

    def __post_init__(self) -> None:
        super().__post_init__()
        RelativeCut(self.cut)  # checks itself
        check_count("rounds", self.rounds)

    def atlas(self, model: nn.Module, moments: Moments, problem: TextProblem | None = None) -> Atlas:
        """The engrams of both sets, under this method's cut."""
        return Atlas(model, moments, RelativeCut(self.cut))


@dataclass(frozen=True, kw_only=True)
class MomentsEdit(ClosedForm):
    """A closed form whose edit follows from the moments of both sets alone.

    A sweep collects once: ``atlas = method.atlas(model, method.moments(model, problem))``, then for each setting
    ``setting.edit(atlas).apply(model, tied="untie")``.
    """

    def __call__(self, problem: TextProblem) -> nn.Module:
        model = copy.deepcopy(problem.model).eval()
        for _ in range(self.rounds):
            atlas = self.atlas(model, self.moments(model, problem), problem)
            self.edit(atlas).apply_(model, check=False, tied="untie")
        return model

    @abstractmethod
    def edit(self, atlas: Atlas) -> Edit:
        """The change of the weights."""
