"""Delta weights in the paper's estimator, without the steps that Case 2 of Appendix G adds."""

from __future__ import annotations

from torch import nn

from mnemotomy.core.errors import ConfigurationError, SelectionError
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.cut import RelativeCut
from mnemotomy.engram.moments import Moments
from mnemotomy.methods.base import ENGRAM
from mnemotomy.methods.language.engram import Filtered
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.registry import register


@register(
    "delta-weights",
    "Delta weights (naive)",
    ENGRAM,
    needs=("pretrained",),
    grid={"strength": (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)},
)
class DeltaWeights(Filtered):
    """``W − α ΔW Σ⁺ (Σ⁺ + Σ⁻)†`` with ``ΔW = W − W_pretrained`` (Eq. 3; Appendix G.2, Table 9).

    Raises:
        ConfigurationError: the problem has no pretrained model, or a value is out of range.
        SelectionError: the pretrained model has other shapes.
    """

    def moments(self, model: nn.Module, problem: TextProblem) -> Moments:
        pretrained_of(problem, self.name)  # checks it before any work
        return super().moments(model, problem)

    def atlas(self, model: nn.Module, moments: Moments, problem: TextProblem | None = None) -> Atlas:
        base = None if problem is None else problem.pretrained
        if base is None:
            raise ConfigurationError("delta weights need a pretrained model; give one")
        return Atlas(model, moments, RelativeCut(self.cut), base)


def pretrained_of(problem: TextProblem, method: str) -> nn.Module:
    """The problem's pretrained model.

    Raises:
        ConfigurationError: there is none.
        SelectionError: its shapes differ from those of the problem's model.
    """
    if problem.pretrained is None:
        raise ConfigurationError(
            f"{method} needs the pretrained model, from before it learned the forget set; give pretrained"
        )
    own, other = ({k: v.shape for k, v in model.state_dict().items()} for model in (problem.model, problem.pretrained))
    if own != other:
        differs = next(name for name in [*own, *other] if own.get(name) != other.get(name))
        raise SelectionError(
            f"the pretrained model has other weights or shapes than the model, first at {differs!r}; give the model "
            "that was fine-tuned"
        )
    return problem.pretrained
