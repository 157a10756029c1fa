"""Signs, seen before an edit, that it will ruin the model. Each says the numbers that led to it, and what to do."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mnemotomy.core.errors import SurgeryWarning
from mnemotomy.engram.moments import Moments
from mnemotomy.engram.sites import Site
from mnemotomy.engram.sites.linear import EmbeddingSite

MOST = 0.5
"""The largest share of all rows that a concept may have; above it, the reference is too small."""


class Rows(NamedTuple):
    """How many rows one input has beside its directions.

    Attributes:
        input: the first site that reads it.
        number: of rows.
        width: directions.
    """

    input: str
    number: int
    width: int


def row_concerns(moments: Moments, concepts: Sequence[str]) -> list[str]:
    """What the counts of some moments say against editing ``concepts``; empty if nothing does.

    Fewer rows than an input has directions leave directions about which nothing is known, and nothing to tell the
    concept's own from those that everything shares. A concept that is most of all rows takes what it shares with the
    reference along: the μ of a shared direction is n⁺/N.

    Args:
        moments: of the concepts and their reference.
        concepts: to be edited together.
    """
    found = _few(_rows(moments, moments.concepts))
    share, at = 0.0, ""
    for site in moments.readers:
        rows = sum(moments.count(site, name) for name in moments.concepts)
        own = sum(moments.count(site, name) for name in concepts) / max(1, rows)
        share, at = max((share, at), (own, site))
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


def reference_concerns(moments: Moments, reference: str) -> list[str]:
    """What the counts say against a trace: too few rows in all, or in the reference alone; empty if nothing does."""
    return _few(_rows(moments, moments.concepts)) or _small(_rows(moments, [reference]))


def token_concerns(sites: Mapping[str, Site], tokens: Mapping[str, int], reference: str) -> list[str]:
    """The same before any pass, from the numbers of tokens.

    Args:
        sites: whose moments are to be collected; every token is a row of each that is not an expert.
        tokens: that count, by concept and of the reference.
        reference: its name among them.
    """
    inputs: dict[tuple[int | None, int], tuple[str, int]] = {}
    for name, site in sites.items():
        if site.groups == 1 and not site.routed and not isinstance(site, EmbeddingSite):
            width = int(site.weight().shape[-1])
            inputs.setdefault((site.layer, width), (name, width))  # maps of one block and width share theirs
    whole, own = sum(tokens.values()), tokens.get(reference, 0)
    found = ([Rows(name, count, width) for name, width in inputs.values()] for count in (whole, own))
    return _few(next(found)) or _small(next(found))


def _rows(moments: Moments, concepts: Iterable[str]) -> list[Rows]:
    """Of every distinct input with a full second moment."""
    found, concepts = dict[str, Rows](), tuple(concepts)
    for site, reader in moments.readers.items():
        shape = moments.moment(site, moments.concepts[0]).shape
        if len(shape) == 2:
            count = sum(moments.count(site, name) for name in concepts)
            found.setdefault(reader, Rows(reader, count, shape[-1]))
    return list(found.values())


def _few(rows: Sequence[Rows]) -> list[str]:
    worst, where = _worst(rows)
    if worst is None:
        return []
    return [
        f"the moments have {worst.number} rows, but {where} {worst.width} directions: engrams are mostly "
        f"noise there, and an edit by them ruins a model; collect at least {2 * worst.width} rows (tokens, for a "
        "language model), or take narrower sites"
    ]


def _small(rows: Sequence[Rows]) -> list[str]:
    worst, where = _worst(rows)
    if worst is None:
        return []
    return [
        f"the reference has {worst.number} rows, but {where} {worst.width} directions: what it does not reach counts "
        f"as the concept's own, and numbers come out too high; give at least {2 * worst.width} rows of reference "
        "(tokens, for a language model), or take narrower sites"
    ]


def _worst(rows: Sequence[Rows]) -> tuple[Rows | None, str]:
    """The input with fewer rows than directions that lacks most, and where, in words."""
    few = [one for one in rows if one.number < one.width]
    if not few:
        return None, ""
    worst, more = max(few, key=lambda one: one.width - one.number), len(few) - 1
    others = f"and {more} other input{'s' if more > 1 else ''} have up to" if more else "has"
    return worst, f"{worst.input!r} {others}"
