"""Names that the index takes for one: "C" and "C++", "Åland" and "Aland"."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from mnemotomy.data.fact import name_of


def as_written(query: str, names: Sequence[str]) -> list[int]:
    """An order of hits in which the query's own spelling goes before its likes, and all else stays where it is.

    Args:
        query: as it was asked.
        names: of the hits' subjects, by ``name_of``, best first.

    Returns:
        Every place of ``names`` once.
    """
    asked, order = name_of(query), list(range(len(names)))
    alike: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        alike.setdefault(_bare(name), []).append(place)
    for places in alike.values():
        if len({names[place] for place in places}) > 1:
            better = sorted(places, key=lambda place: -_length_in(asked, names[place]))
            for place, hit in zip(places, better, strict=True):
                order[place] = hit
    return order


def _bare(name: str) -> str:
    """The name's words without signs and accents, as the index has them."""
    letters = "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))
    return " ".join(re.findall(r"[^\W_]+", letters))


def _length_in(asked: str, name: str) -> int:
    """The length of a name that stands in the question, and not within a word; 0 for one that does not."""
    return len(name) if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", asked) else 0
