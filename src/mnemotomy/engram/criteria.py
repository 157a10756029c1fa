"""The four criteria of an engram: specificity, reactivation, necessity, sufficiency (Section 4.3, Table 1)."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.frames import frame
from mnemotomy.core.modules import tied_parameters, untie
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.filters import Filter
from mnemotomy.engram.products import full_precision
from mnemotomy.engram.sites import parameter_names, sites_by_name

if TYPE_CHECKING:
    import pandas as pd

Score = Callable[[nn.Module], float]
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Criteria:
    """How well an engram meets Table 1, per site, from the moments alone.

    Attributes:
        concept: its name.
        table: one row per site. ``specificity`` is ‖W⁺X⁻‖/‖WX⁻‖ (0 is ideal), ``reactivation`` is ‖W⁺X⁺ − WX⁺‖/‖WX⁺‖
            (0 is ideal). The errors of the four intervened states are relative to what the change ΔW does to the same
            inputs, ‖ΔWX‖: ``ablated_target`` ‖(W₁−W⁺)X⁺ − W₀X⁺‖, ``injected_target`` ‖(W₀+W⁺)X⁺ − W₁X⁺‖,
            ``injected_reference`` ‖(W₀+W⁺)X⁻ − W₀X⁻‖, ``ablated_reference`` ‖(W₁−W⁺)X⁻ − W₁X⁻‖.
    """

    concept: str
    table: pd.DataFrame

    @property
    def mean(self) -> pd.Series:
        """Every column averaged over sites."""
        means: pd.Series = self.table.drop(columns=["site", "layer", "kind"]).mean()
        return means


def criteria(atlas: Atlas, concept: str, filter: Filter | None = None) -> Criteria:
    """Specificity and reactivation of one concept's engram, and the errors of the intervened states of Table 1.

    The moments suffice, without data: ``‖A X‖² = tr(A Σ Aᵀ)``. Needs the package ``pandas``.
    """
    engram = atlas.engram(concept, filter)
    reference = [c for c in atlas.concepts if c not in engram.concepts]
    records = []
    for name, extracted in engram.items():
        site = atlas.sites[name]
        change, learned = atlas.weight(name), site.weight()
        target = atlas.second_moment(name, engram.concepts)
        rest = atlas.second_moment(name, reference)
        norm = functools.partial(_norm, groups=site.groups)
        missed = norm(extracted - change, target) / _positive(norm(change, target))
        leaked = norm(extracted, rest) / _positive(norm(change, rest))
        records.append(
            {
                "site": name,
                "layer": site.layer,
                "kind": site.kind,
                "specificity": norm(extracted, rest) / _positive(norm(learned, rest)),
                "reactivation": missed,
                # Both target states differ from the observed one by (ΔW − W⁺)X⁺, both reference states by W⁺X⁻.
                "ablated_target": missed,
                "injected_target": missed,
                "injected_reference": leaked,
                "ablated_reference": leaked,
            }
        )
    return Criteria(concept, frame(records))


def necessity(edit: Edit, model: nn.Module, score: Score) -> tuple[float, float]:
    """The task score before and after ablation: an engram is necessary if the score falls.

    Args:
        edit: that erases.
        model: that the edit belongs to; restored.
        score: of a model on the concept's task.
    """
    before = score(model)
    with edit.on(model):
        return before, score(model)


def sufficiency(edit: Edit, naive: nn.Module, score: Score) -> tuple[float, float]:
    """The task score before and after injection into a naive model: an engram suffices if the score rises.

    Args:
        edit: that injects.
        naive: the null state (``null_state``), or a network that never learned the concept; restored.
        score: of a model on the concept's task.
    """
    before = score(naive)
    with edit.on(naive, check=False, tied="untie"):
        return before, score(naive)


def null_state(model: Model, atlas: Atlas) -> Model:
    """A copy of ``model`` with ``W = 0`` at every site of the atlas: the null state μ_null of Fig. 1.

    Modules that share a weight with a site keep it.
    """
    copied = copy.deepcopy(model)
    sites = sites_by_name(copied, atlas.sites).values()
    for name in {name for site in sites for name in parameter_names(copied, site)} & set(tied_parameters(copied)):
        untie(copied, name)
    for site in sites:
        for _ in range(3):  # weight() gives the leading 24 of the 53 bits of float64
            site.add_(-site.weight())
    return copied


def _norm(matrix: Float[Tensor, "out d"], moment: Tensor, groups: int) -> float:
    """``‖A X‖_F`` from ``Σ = X Xᵀ``."""
    matrix, moment = matrix.double(), moment.double()
    if moment.dim() == 1:
        return float((matrix * moment * matrix).sum().clamp_min(0).sqrt())
    if groups > 1:
        matrix = matrix.unflatten(0, (groups, -1))
    with full_precision():
        return float(((matrix @ moment) * matrix).sum().clamp_min(0).sqrt())


def _positive(value: float) -> float:
    return value if value > 0 else 1.0
