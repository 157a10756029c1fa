"""Signs, seen before an edit, that it will ruin the model. Each says the numbers that led to it, and what to do."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from mnemotomy.core.errors import SurgeryWarning
from mnemotomy.engram.moments import Moments

MOST = 0.5
"""The largest share of all rows that a concept may have; above it, the reference is too small."""


def row_concerns(moments: Moments, concepts: Sequence[str]) -> list[str]:
    """What the counts of some moments say against editing ``concepts``; empty if nothing does.

    Fewer rows than an input has directions leave directions about which nothing is known, and nothing to tell the
    concept's own from those that everything shares. A concept that is most of all rows takes what it shares with the
    reference along: the μ of a shared direction is n⁺/N.

    Args:
        moments: of the concepts and their reference.
        concepts: to be edited together.
    """
    found: list[str] = []
    few: dict[str, tuple[int, int]] = {}
    share, at = 0.0, ""
    for site, reader in moments.readers.items():
        rows = sum(moments.count(site, name) for name in moments.concepts)
        shape = moments.moment(site, moments.concepts[0]).shape
        width = shape[-1]
        if len(shape) == 2 and rows < width:
            few.setdefault(reader, (rows, width))
        own = sum(moments.count(site, name) for name in concepts) / max(1, rows)
        share, at = max((share, at), (own, site))
    if few:
        reader, (rows, width) = max(few.items(), key=lambda item: item[1][1] - item[1][0])
        more = len(few) - 1
        others = f"and {more} other input{'s' if more > 1 else ''} have up to" if more else "has"
        found.append(
            f"the moments have {rows} rows, but {reader!r} {others} {width} directions: engrams are mostly "
            f"noise there, and an edit by them ruins a model; collect at least {2 * width} rows (tokens, for a "
            "language model), or take narrower sites"
        )
    if share > MOST:
        found.append(
            f"{100 * share:.0f} % of the rows at {at!r} belong to what is edited, so whatever it shares with the "
            "reference is taken along; collect more of the reference"
        )
    return found


def warn_of_rows(moments: Moments, concepts: Sequence[str]) -> None:
    """Warn of each concern (``SurgeryWarning``)."""
    for concern in row_concerns(moments, concepts):
        warnings.warn(concern, SurgeryWarning, stacklevel=3)
