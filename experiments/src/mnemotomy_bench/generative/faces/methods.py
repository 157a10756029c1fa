"""The methods that erase an attribute from the autoencoder, each with title and engrams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mnemotomy.engram.deltas import Dense, Term
from mnemotomy.engram.edit import Edit
from mnemotomy_bench.generative.faces.engrams import CODE, PAPER, PAPER_RARE, Setting, Shift
from mnemotomy_bench.generative.faces.subject import FaceSubject


@dataclass(frozen=True)
class FaceMethod:
    """One row of the table.

    Attributes:
        name, title: in records and on screen.
        selection: how its settings were found.
        engram: of the attribute at an index, given the subject and the chosen setting.
    """

    name: str
    title: str
    selection: str
    engram: Callable[[FaceSubject, int, Sequence[Setting | Shift]], Edit]


def attribute_vector(subject: FaceSubject, place: int) -> Edit:
    """``z − α (m⁺ − m⁻)`` for every face, with the mean codes of faces with and without: Larsen et al. 2016.

    Written as an edit of the decoder's first bias, as ``W (z − α v) + b = W z + (b − α W v)``.
    """
    with_it, without = subject.engrams.mean_codes(place)
    atlas = subject.engrams.linear
    weight = atlas.weight(CODE)
    change = torch.zeros_like(weight)
    change[:, -1] = weight[:, :-1] @ (with_it - without)
    return Edit((Term(1.0, Dense({CODE: change}, atlas.fingerprint, {"attribute": place, "vector": True})),))


def _fixed(setting: Setting | Shift) -> Callable[[FaceSubject, int, Sequence[Setting | Shift]], Edit]:
    return lambda subject, place, chosen: subject.engrams.engram(place, setting)


VECTOR, ENGRAM, RARE, SHIFT = "attribute-vector", "engram", "engram-rare", "engram-shift"
AUTOMATIC = "engram-automatic"
_FIXED: dict[str, Setting | Shift] = {ENGRAM: PAPER, RARE: PAPER_RARE, SHIFT: Shift()}

METHODS: dict[str, FaceMethod] = {
    method.name: method
    for method in (
        FaceMethod(VECTOR, "Attribute vector", "none", lambda subject, place, chosen: attribute_vector(subject, place)),
        FaceMethod(ENGRAM, "Engram (α = 1)", "none", _fixed(_FIXED[ENGRAM])),
        FaceMethod(RARE, "Engram (α = 1), rare", "none", _fixed(_FIXED[RARE])),
        FaceMethod(SHIFT, "Engram (shift)", "none", _fixed(_FIXED[SHIFT])),
        FaceMethod(
            AUTOMATIC, "Engram (automatic)", "validation faces of the first seed",
            lambda subject, place, chosen: subject.engrams.engram(place, chosen[place]),
        ),
    )
}  # fmt: skip


def engrams_of(subject: FaceSubject, method: FaceMethod, chosen: Sequence[Setting | Shift]) -> list[Edit]:
    """The engrams of every attribute, as tensors."""
    return [method.engram(subject, place, chosen) for place in range(len(subject.case.attributes))]


def describe(method: FaceMethod, names: Sequence[str], chosen: Sequence[Setting | Shift]) -> dict[str, Any] | None:
    """The settings of a method, for records."""
    if method.name in _FIXED:
        return _FIXED[method.name].describe()
    if method.name == AUTOMATIC:
        return {name: setting.describe() for name, setting in zip(names, chosen, strict=True)}
    return None
