"""Matrices by site, and terms of an edit: such matrices times a strength."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, ItemsView, Iterator, Mapping, ValuesView
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from jaxtyping import Float
from torch import Tensor

from mnemotomy.core.errors import SelectionError, UnknownSiteError
from mnemotomy.engram.sites import Site

Default = TypeVar("Default")


class BySite(Mapping[str, Tensor]):
    """Canonical ``[out, d]`` matrices by site name, computed on demand.

    Unlike other mappings, two are equal only if they are the same object: comparing would compute every matrix.
    """

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """The fingerprint of the model that the matrices belong to."""

    @abstractmethod
    def sites(self) -> tuple[str, ...]:
        """The names of the sites."""

    @abstractmethod
    def __getitem__(self, site: str) -> Float[Tensor, "out d"]: ...

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """How the matrices were made, for artifacts and reports."""

    def pairs(self) -> Iterator[tuple[str, Float[Tensor, "out d"]]]:
        """All sites with their matrices, in the order that takes the least time and memory."""
        return ((site, self[site]) for site in self.sites())

    def __iter__(self) -> Iterator[str]:
        return iter(self.sites())

    def __len__(self) -> int:
        return len(self.sites())

    def __contains__(self, site: object) -> bool:
        return site in self.sites()

    def items(self) -> ItemsView[str, Tensor]:
        return _Items(self)

    def values(self) -> ValuesView[Tensor]:
        return _Values(self)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def _unknown(self, site: str, what: str) -> UnknownSiteError:
        return UnknownSiteError(f"no site {site!r} in this {what}; there are {', '.join(self.sites()[:8])}")


class _Items(ItemsView[str, Tensor]):
    _mapping: BySite

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        return self._mapping.pairs()


class _Values(ValuesView[Tensor]):
    _mapping: BySite

    def __iter__(self) -> Iterator[Tensor]:
        return (matrix for _, matrix in self._mapping.pairs())


class Deltas(BySite):
    """The matrices of a term of an edit: an engram, or given tensors."""

    def some(self, wanted: Collection[str]) -> Iterator[tuple[str, Float[Tensor, "out d"]]]:
        """The wanted sites with their matrices, as ``pairs``; the other sites cost nothing."""
        return ((site, self[site]) for site in self.sites() if site in wanted)

    @abstractmethod
    def check(self, name: str, site: Site) -> None:
        """Refuse a site whose shape differs from these deltas.

        Raises:
            SelectionError: it gives both shapes.
        """


class Dense(Deltas):
    """Deltas given as tensors."""

    def __init__(self, tensors: Mapping[str, Tensor], fingerprint: str, description: Mapping[str, Any]) -> None:
        self._tensors, self._fingerprint, self._description = tensors, fingerprint, description

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def sites(self) -> tuple[str, ...]:
        return tuple(self._tensors)

    def __getitem__(self, site: str) -> Tensor:
        if site not in self._tensors:
            raise self._unknown(site, "edit")
        return self._tensors[site]

    def describe(self) -> dict[str, Any]:
        return dict(self._description)

    def check(self, name: str, site: Site) -> None:
        here, made = list(site.weight().shape), list(self._tensors[name].shape)
        if here != made:
            raise SelectionError(f"site {name!r} has shape {here} here and {made} in the edit")


@dataclass(frozen=True)
class Term:
    """Deltas times a strength: one number, or one per site (sites left out are not edited)."""

    strength: float | Mapping[str, float]
    deltas: Deltas

    def at(self, site: str) -> float:
        """The strength at one site."""
        return self.strength.get(site, 0.0) if isinstance(self.strength, Mapping) else self.strength

    def scaled(self, factor: float) -> Term:
        """The term times a number."""
        if isinstance(self.strength, Mapping):
            return Term({site: factor * s for site, s in self.strength.items()}, self.deltas)
        return Term(factor * self.strength, self.deltas)

    def describe(self) -> dict[str, Any]:
        """How the deltas were made, with their final strength."""
        return _strengthened(self.deltas.describe(), self.strength)


def _strengthened(description: dict[str, Any], strength: float | Mapping[str, float]) -> dict[str, Any]:
    """A description times a strength; loaded or materialised tensors already have a strength."""
    if "terms" in description:
        return description | {"terms": [_strengthened(term, strength) for term in description["terms"]]}
    recorded = description.get("strength", 1.0)
    return {**description, "strength": _product(strength, recorded)}


def _product(left: float | Mapping[str, float], right: float | Mapping[str, float]) -> float | dict[str, float]:
    if not isinstance(left, Mapping) and not isinstance(right, Mapping):
        return left * right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return {site: left[site] * right[site] for site in left if site in right}
    by_site, factor = (left, right) if isinstance(left, Mapping) else (right, left)
    return {site: one * cast(float, factor) for site, one in cast(Mapping[str, float], by_site).items()}
