"""Engrams of language models: the paper's estimator, and other filters of μ, which spare what both sets share."""

from __future__ import annotations

from dataclasses import dataclass

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.filters import FILTERS, Filter, Hard, Steep
from mnemotomy.engram.strength import erase
from mnemotomy.methods.base import ENGRAM, OURS
from mnemotomy.methods.language.closed_form import MomentsEdit
from mnemotomy.methods.language.collecting import FORGET
from mnemotomy.methods.registry import register

PAPER_STRENGTHS = tuple(step / 20 for step in range(1, 21))
"""Appendix E.3 of arXiv 2606.14997: 0.05, 0.10, …, 1.0."""


@dataclass(frozen=True)
class Filtered(MomentsEdit):
    """``W − α W f(P)`` with a function f of the eigenvalues μ of ``P = Σ⁺ (Σ⁺ + Σ⁻)†``.

    Attributes:
        strength: α.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.filter(0.5)  # checks the settings

    def filter(self, share: float) -> Filter | None:
        """f, given the share n⁺/N of the forget set's tokens; None for μ itself."""
        return None

    def edit(self, atlas: Atlas) -> Edit:
        return erase(atlas, FORGET, self.strength, self.filter(share_of(atlas)))


@register("engram-uniform", "Engram (ᾱ, uniform)", ENGRAM, grid={"strength": (0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 4.0)})
class EngramUniform(Filtered):
    """``W − α W Σ⁺ (Σ⁺ + Σ⁻)†`` at every projection (Eq. 4, 7), α the same for all (Appendix E.3)."""

    strength: float = 0.6


@register("engram-weight-norm", "Engram (α̃, weight norm)", ENGRAM, grid={"strength": (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)})
class EngramWeightNorm(Filtered):
    """``EngramUniform`` with ``α = ‖W⁺‖/‖W‖`` per projection, rescaled to a maximum of 1 (Section 7, Appendix E.3).

    The paper's α̃ has no hyperparameter; ``strength`` multiplies it.
    """

    def edit(self, atlas: Atlas) -> Edit:
        return self.strength * erase(atlas, FORGET, "weight-norm")


def projector(excess: float, share: float) -> Hard:
    """The projector on ``μ > n⁺/N + excess · (1 − n⁺/N)``, given n⁺/N.

    Raises:
        ConfigurationError: the excess is not in [0, 1).
    """
    if not 0.0 <= excess < 1.0:
        raise ConfigurationError(f"excess over n⁺/N is in [0, 1), not {excess}")
    return Hard(share + excess * (1.0 - share))


@register(
    "engram-projector",
    "Engram (projector)",
    OURS,
    grid={"excess": (0.02, 0.05, 0.1, 0.2), "strength": (0.5, 1.0)},
    small={"excess": (0.05, 0.07, 0.1, 0.13), "strength": (0.5, 1.0)},
)
class EngramProjector(Filtered):
    """The projector on the directions with ``μ > τ``, ``τ = n⁺/N + excess · (1 − n⁺/N)``.

    An excess of 0 is the μ of a direction that the forget set shares with everything, 1 the μ of one that only the
    forget set has: τ follows the sizes of both sets.
    """

    excess: float = 0.1

    def filter(self, share: float) -> Filter:
        return projector(self.excess, share)


@register(
    "engram-steep",
    "Engram (steep filter)",
    OURS,
    grid={"times": (1.5, 2.0, 3.0, 4.0), "strength": (0.5, 1.0)},
    small={"times": (1.75, 2.0, 2.5, 3.0), "strength": (0.5, 1.0)},
)
class EngramSteep(Filtered):
    """``Steep``, the projector with a soft edge at ``τ = times · n⁺/N``."""

    times: float = 2.0
    exponent: float = 4.0

    def filter(self, share: float) -> Filter:
        return Steep(self.times, self.exponent)


@register(
    "engram-filtered", "Engram (filtered)", OURS, grid={"by": ("power", "excess", "balanced"), "strength": (1.0, 2.0)}
)
class EngramFiltered(Filtered):
    """Any filter of ``mnemotomy.engram.filters`` without parameters, by name."""

    by: str = "excess"

    def filter(self, share: float) -> Filter:
        known = [name for name in FILTERS if name != "ridge"]
        if self.by not in known:
            raise ConfigurationError(f"there is no filter {self.by!r}; choose one of {', '.join(known)}")
        found: Filter = FILTERS[self.by]()
        return found


def share_of(atlas: Atlas) -> float:
    """n⁺/N in tokens; the same at every site, because each sees every token."""
    return atlas.share(next(iter(atlas.sites)), [FORGET])
