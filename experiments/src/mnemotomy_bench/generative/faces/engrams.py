"""The engrams of attributes: one collection by combination of attributes, one factorisation, any filter and null state.

Attributes overlap, but a row of a collection belongs to one concept. Combinations of attributes do not overlap: once
they are collected, those with glasses are the concept and those without are its reference; so for every attribute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mnemotomy.core.errors import ConceptError
from mnemotomy.core.settings import Choice
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.deltas import Dense, Term
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.filters import FILTERS, Excess, Filter, Hard, Soft
from mnemotomy.engram.sites import Selector, all_sites
from mnemotomy_bench.generative.faces.portraits import Portraits
from mnemotomy_bench.generative.faces.rare import Rare
from mnemotomy_bench.vision.networks.wasserstein_autoencoder import WassersteinAutoencoder

BATCH_SIZE = 128
"""Appendix B.3."""

CODE = "decoder.0"
"""The site that reads the code."""


@dataclass(frozen=True)
class Setting:
    """How an engram is read from the moments.

    Attributes:
        filter: of μ.
        sites: ``all``, or only ``code``, the decoder's first map.
        centred: the null state W₀ (Eq. 3) draws the mean face of the reference instead of nothing. At every site
            ``W₀ x = W m⁻ + b`` with m⁻ the mean row of the reference, so that ``ΔW x = W (x − m⁻)``.
        strength: what the engram is multiplied by, so that α = 1 erases the attribute.
    """

    filter: Filter = field(default_factory=Soft)
    sites: str = "all"
    centred: bool = False
    strength: float = 1.0

    def describe(self) -> dict[str, Any]:
        """The settings, for records."""
        return {
            "filter": Choice("filter", {**FILTERS, "rare": Rare}).describe(self.filter),
            "sites": self.sites,
            "centred": self.centred,
            "strength": self.strength,
        }


@dataclass(frozen=True)
class Shift:
    """An engram whose null state draws the same face without the attribute, not an empty or a mean one.

    Every face with the attribute then gains the same ``W v`` over its null state, ``v = m⁺ − m⁻`` the difference of the
    mean rows, and Eq. 2 asks for ``W⁺ X⁺ = W v 1ᵀ`` and ``W⁺ X⁻ = 0``. The least-squares solution is
    ``W⁺ = W v (X⁺ 1)ᵀ (Σ⁺ + Σ⁻)†``: v times a linear guess of whether a face has the attribute. The guess is shrunk,
    and divided by its mean over the faces that have it, so α = 1 removes all of v on average.

    Attributes:
        strength: what the engram is also multiplied by.
    """

    strength: float = 1.0

    def describe(self) -> dict[str, Any]:
        """The settings, for records."""
        return {"shift": True, "sites": "code", "strength": self.strength}


PAPER = Setting()
"""Eq. 4 at every layer, without reweighting."""

PAPER_RARE = Setting(Rare(0.06))
"""The same with every attribute as rare as glasses in CelebA."""

_FILTERS: tuple[Filter, ...] = (*map(Rare, (0.12, 0.06, 0.03, 0.015)), Soft(), Excess(), Hard(0.75), Hard(0.9))
_STRENGTHS = (1.0, 1.25, 1.5)
CANDIDATES: tuple[Setting | Shift, ...] = (
    *(Setting(filter, "code", centred, s) for centred in (False, True) for filter in _FILTERS for s in _STRENGTHS),
    *map(Shift, _STRENGTHS),
)
"""The settings that the automatic choice tries for each attribute."""


class Engrams:
    """The engrams of all attributes in one autoencoder; moments are collected when first needed.

    Args:
        model: the autoencoder.
        faces: for linear maps, where each face is one row.
        few: for convolutions, where each face is many rows.
    """

    def __init__(self, model: WassersteinAutoencoder, faces: Portraits, few: Portraits) -> None:
        self.model, self.faces, self.few = model, faces, few

    @cached_property
    def linear(self) -> Atlas:
        """The atlas of the encoder's last and the decoder's first map."""
        return combination_atlas(self.model, self.faces, "all-linear")

    @cached_property
    def convolutions(self) -> Atlas:
        """The atlas of all other maps."""
        others = [name for name in all_sites(self.model) if name not in self.linear.sites]
        return combination_atlas(self.model, self.few, others)

    def engram(self, place: int, setting: Setting | Shift) -> Edit:
        """The engram of the attribute at this index, as tensors; ``-1.0 *`` it erases, ``+`` amplifies (Eq. 7, 8)."""
        if isinstance(setting, Shift):
            return shift_engram(self.linear, place, setting)
        if setting.sites == "code":
            return attribute_engram(self.linear, place, setting, [CODE])
        parts = [
            attribute_engram(atlas, place, setting, list(atlas.sites)) for atlas in (self.linear, self.convolutions)
        ]
        return parts[0] + parts[1]

    def mean_codes(self, place: int) -> tuple[Float[Tensor, " latent"], Float[Tensor, " latent"]]:
        """The mean codes of faces with and without the attribute."""
        with_it, without = (_mean(self.linear, CODE, _of(self.linear, place, value)) for value in "10")
        return with_it, without


def combination(attributes: Bool[Tensor, " k"]) -> str:
    """The name of a combination of attributes, such as ``0101``."""
    return "".join("1" if has else "0" for has in attributes.tolist())


def combination_atlas(model: WassersteinAutoencoder, faces: Portraits, sites: Selector) -> Atlas:
    """The atlas of every combination of attributes among ``faces``, from one pass.

    Raises:
        ConceptError: every face has an attribute, or none has it.
    """
    shares = faces.attributes.float().mean(0)
    alike = ((shares == 0) | (shares == 1)).nonzero().flatten().tolist()
    if alike:
        raise ConceptError(f"attribute {alike[0]} is in every face or in none; collect from more faces")
    names = [combination(row) for row in faces.attributes.cpu()]

    def batches(name: str) -> Iterator[Tensor]:
        rows = torch.tensor([row for row, other in enumerate(names) if other == name])
        for part in rows.split(BATCH_SIZE):
            yield faces[part.to(faces.pixels.device)].images

    data = {name: batches(name) for name in sorted(set(names))}
    return Atlas(model, collect(model, data, sites=sites, options=CollectOptions(progress=False)))


def attribute_engram(atlas: Atlas, place: int, setting: Setting, sites: Sequence[str]) -> Edit:
    """The engram of one attribute at these sites of an atlas of combinations."""
    concept = _of(atlas, place, "1")
    engram = atlas.engram(concept, setting.filter)
    tensors: dict[str, Tensor] = {}
    for name in sites:
        if setting.centred:
            operator = atlas.operator(name, concept, setting.filter)
            tensors[name] = (_change(atlas, name, place).to(operator) @ operator).float()
        else:
            tensors[name] = engram[name]
    return _edit(atlas, place, setting, tensors)


def shift_engram(atlas: Atlas, place: int, setting: Shift) -> Edit:
    """The rank-one engram of one attribute at the site that reads the code."""
    with_it, without = (_mean(atlas, CODE, _of(atlas, place, value)) for value in "10")
    target = torch.cat([with_it, with_it.new_ones(1)])[None]  # the mean extended row; its scale cancels below
    spectrum = atlas.spectrum(CODE)
    guess = spectrum.times_inverse(target.to(spectrum.dtype), 0.0).float()
    moved = atlas.weight(CODE)[:, :-1] @ (with_it - without)
    tensor = moved[:, None] * guess / float(guess @ target.T)
    return _edit(atlas, place, setting, {CODE: tensor})


def _edit(atlas: Atlas, place: int, setting: Setting | Shift, tensors: dict[str, Tensor]) -> Edit:
    """The setting's strength is the term's, and recorded with it."""
    described = {"attribute": place} | {key: value for key, value in setting.describe().items() if key != "strength"}
    return Edit((Term(setting.strength, Dense(tensors, atlas.fingerprint, described)),))


def _change(atlas: Atlas, site: str, place: int) -> Float[Tensor, "out d"]:
    """``ΔW = W − W₀``, the bias as its last column."""
    weight = atlas.weight(site)
    change = weight.clone()
    change[:, -1] = -weight[:, :-1] @ _mean(atlas, site, _of(atlas, place, "0"))
    return change


def _mean(atlas: Atlas, site: str, concepts: Sequence[str]) -> Float[Tensor, " d"]:
    moments = [atlas.moments.moment(site, concept) for concept in concepts]
    total = torch.stack([moment.first.double() for moment in moments]).sum(0)
    return (total / sum(moment.count for moment in moments)).float()


def _of(atlas: Atlas, place: int, value: str) -> list[str]:
    return [name for name in atlas.concepts if name[place] == value]
