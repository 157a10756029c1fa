"""How strongly each site is edited, and the two basic edits: erase and inject."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from mnemotomy.core.errors import DataError, SelectionError
from mnemotomy.engram.deltas import Term
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.engram import Engram
from mnemotomy.engram.filters import Filter
from mnemotomy.engram.guards import warn_of_rows

if TYPE_CHECKING:
    from mnemotomy.engram.atlas import Atlas

Strength = float | str | Mapping[str, float] | Callable[[Engram], Mapping[str, float]]
"""One number for all sites (the paper's uniform α), a rule by name, numbers by site, or a function of the engram."""


def weight_norm(engram: Engram) -> dict[str, float]:
    """``‖W⁺‖/‖W‖`` rescaled to a maximum of 1: the paper's α_W-Norm (Section 7, Appendix E.3)."""
    ratios = engram.ratios()
    largest = max(ratios.values()) or 1.0
    return {site: ratio / largest for site, ratio in ratios.items()}


RULES: dict[str, Callable[[Engram], dict[str, float]]] = {
    "uniform": lambda engram: dict.fromkeys(engram.sites(), 1.0),
    "weight-norm": weight_norm,
    "effective-rank": Engram.effective_ranks,
}


def strengths(engram: Engram, strength: Strength) -> float | Mapping[str, float]:
    """``strength`` as a number or as numbers by site.

    Raises:
        DataError: the rule is unknown, or a number is not finite.
        SelectionError: a number is given for a site that the engram lacks.
    """
    if isinstance(strength, str):
        if strength not in RULES:
            raise DataError(
                f"unknown strength {strength!r}; give a number, numbers by site, or one of {', '.join(RULES)}"
            )
        strength = RULES[strength]
    found = strength(engram) if callable(strength) else strength
    if isinstance(found, Mapping):
        unknown = [site for site in found if site not in engram.sites()]
        if unknown:
            raise SelectionError(f"a strength is given for {unknown[0]!r}, which is not a site of this engram")
        return {site: _finite(value) for site, value in found.items()}
    return _finite(found)


def erase(
    atlas: Atlas,
    concepts: str | int | Sequence[str],
    strength: Strength = 1.0,
    filter: Filter | None = None,
    *,
    outputs: bool = False,
) -> Edit:
    """The edit that takes ``concepts`` out: ``−strength · W⁺`` (Eq. 7).

    The concepts' moments are merged first: with any filter but the paper's, the engram of a set is not the sum of its
    members' engrams.

    Args:
        atlas: of the concepts.
        concepts: one or several.
        strength: α, or α per site.
        filter: of μ; ``Soft`` by default.
        outputs: erase only what also writes in the concepts' directions (``Atlas.output_operator``).

    Warns:
        SurgeryWarning: there are too few rows, or most of them belong to the concepts.
    """
    engram = atlas.engram(concepts, filter, outputs=outputs)
    warn_of_rows(atlas.moments, engram.concepts)
    return Edit((Term(strengths(engram, strength), engram).scaled(-1.0),))


def inject(
    atlas: Atlas,
    concepts: str | int | Sequence[str],
    strength: Strength = 1.0,
    filter: Filter | None = None,
    *,
    outputs: bool = False,
) -> Edit:
    """The edit that puts ``concepts`` in: ``+strength · W⁺``. Arguments as for ``erase``."""
    return -1.0 * erase(atlas, concepts, strength, filter, outputs=outputs)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise DataError(f"a strength is a finite number, not {value}")
    return float(value)
