"""Delta weights put into the paper's estimator as they are, without what Case 2 of Appendix G asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mnemotomy.core.errors import ConfigurationError, SelectionError
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.cut import RelativeCut
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.moments import Moments
from mnemotomy.engram.strength import erase
from mnemotomy.methods.base import ENGRAM, SearchSpace
from mnemotomy.methods.language.closed_form import MomentsEdit
from mnemotomy.methods.language.collecting import FORGET
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.registry import register


@register
@dataclass(frozen=True)
class DeltaWeights(MomentsEdit):
    """``W − α ΔW Σ⁺ (Σ⁺ + Σ⁻)†`` with ``ΔW = W − W_pretrained`` (Eq. 3; Appendix G.2, Table 9).

    Raises:
        ConfigurationError: the problem has no pretrained model, or a value is out of its range.
        SelectionError: the pretrained model is of another shape.
    """

    strength: float = 1.0

    name: ClassVar = "delta-weights"
    title: ClassVar = "Delta weights (naive)"
    paper: ClassVar = ENGRAM
    needs: ClassVar = ("pretrained",)
    search_space: ClassVar = SearchSpace({"strength": (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)})

    def moments(self, model: nn.Module, problem: TextProblem) -> Moments:
        pretrained_of(problem, self.name)  # before any work is done
        return super().moments(model, problem)

    def atlas(self, model: nn.Module, moments: Moments, problem: TextProblem | None = None) -> Atlas:
        base = None if problem is None else problem.pretrained
        if base is None:
            raise ConfigurationError("delta weights are against a pretrained model; give one")
        return Atlas(model, moments, RelativeCut(self.cut), base)

    def edit(self, atlas: Atlas) -> Edit:
        return erase(atlas, FORGET, self.strength)


def pretrained_of(problem: TextProblem, method: str) -> nn.Module:
    """The problem's pretrained model.

    Raises:
        ConfigurationError: it has none.
        SelectionError: it is of another shape than the problem's model.
    """
    if problem.pretrained is None:
        raise ConfigurationError(
            f"{method} starts from the model before it learned what is to be forgotten; give that pretrained model"
        )
    own, other = ({k: v.shape for k, v in model.state_dict().items()} for model in (problem.model, problem.pretrained))
    if own != other:
        differs = next(name for name in [*own, *other] if own.get(name) != other.get(name))
        raise SelectionError(
            f"the pretrained model has other weights than the model, the first {differs!r}; give the one that it was "
            "before it learned"
        )
    return problem.pretrained
