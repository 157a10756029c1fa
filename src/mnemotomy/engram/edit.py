"""An edit: a linear combination of engrams with a strength per site, applied to a model, undone, saved (Eq. 7, 8)."""

from __future__ import annotations

import contextlib
import copy
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, cast

import safetensors
import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from mnemotomy.core.errors import ArtifactError, FingerprintError, NonFiniteError, SelectionError, TiedWeightsError
from mnemotomy.core.files import replacing_file
from mnemotomy.core.models import fingerprint, tied_parameters, untie
from mnemotomy.core.version import versions
from mnemotomy.engram.moments_file import read_header
from mnemotomy.engram.sites import Site, module_names, parameter_names, sites_by_name

FORMAT = "mnemotomy-edit"
VERSION = 1

Tied = Literal["refuse", "untie"]
Model = TypeVar("Model", bound=nn.Module)


class Deltas(Protocol):
    """Canonical ``[out, d]`` matrices by site: an engram, or tensors already there."""

    @property
    def fingerprint(self) -> str: ...

    def sites(self) -> tuple[str, ...]: ...

    def __getitem__(self, site: str) -> Float[Tensor, "out d"]: ...

    def items(self) -> Iterator[tuple[str, Float[Tensor, "out d"]]]: ...

    def describe(self) -> dict[str, Any]: ...

    def check(self, name: str, site: Site) -> None:
        """Refuse a site of a model that has another shape than these deltas."""


@dataclass(frozen=True)
class Dense:
    """Deltas held as tensors."""

    tensors: Mapping[str, Tensor]
    fingerprint: str
    description: Mapping[str, Any]

    def sites(self) -> tuple[str, ...]:
        return tuple(self.tensors)

    def __getitem__(self, site: str) -> Tensor:
        return self.tensors[site]

    def items(self) -> Iterator[tuple[str, Tensor]]:
        return iter(self.tensors.items())

    def describe(self) -> dict[str, Any]:
        return dict(self.description)

    def check(self, name: str, site: Site) -> None:
        here, made = list(site.weight().shape), list(self.tensors[name].shape)
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
        """How the deltas came about, with the strength that they have in the end."""
        return _strengthened(self.deltas.describe(), self.strength)


@dataclass(frozen=True)
class Edit:
    """What is added to a model's weights: ``Σ strength · W⁺`` per site. A vector: ``+``, ``-`` and scalars.

    Erasing is −1 times an engram, injecting +1.
    """

    terms: tuple[Term, ...]

    @property
    def fingerprint(self) -> str:
        """Of the model that the edit belongs to."""
        return self.terms[0].deltas.fingerprint

    def sites(self) -> tuple[str, ...]:
        """The sites that the edit touches."""
        return tuple(dict.fromkeys(site for term in self.terms for site in term.deltas.sites() if term.at(site) != 0.0))

    def __getitem__(self, site: str) -> Float[Tensor, "out d"]:
        """What is added to the canonical weight of ``site``."""
        parts = [term.at(site) * term.deltas[site] for term in self.terms if site in term.deltas.sites()]
        if not parts:
            raise SelectionError(f"this edit has no site {site!r}")
        return sum(parts[1:], parts[0])

    def items(self) -> Iterator[tuple[str, Float[Tensor, "out d"]]]:
        """All sites with what is added to them; one engram goes input by input, at little memory."""
        touched = set(self.sites())
        if len(self.terms) == 1:
            term = self.terms[0]
            yield from ((site, term.at(site) * delta) for site, delta in term.deltas.items() if site in touched)
        else:
            yield from ((site, self[site]) for site in self.sites())

    def apply(self, model: Model, *, check: bool = True, tied: Tied = "refuse") -> Model:
        """An edited copy of ``model``, which stays as it is.

        Args:
            model: the model that the edit belongs to.
            check: refuse a model with another fingerprint.
            tied: what to do where a second layer shares an edited weight: ``refuse``, or ``untie`` it first.

        Raises:
            FingerprintError: the model is another one.
            TiedWeightsError: an edited weight is shared and ``tied`` is ``refuse``.
            SelectionError: the model lacks a site, or has it in another shape.
            NonFiniteError: what would be added is not finite.
        """
        self._admit(model, check, tied)
        edited = copy.deepcopy(model)
        return self.apply_(edited, check=False, tied=tied)

    def apply_(self, model: Model, *, check: bool = True, tied: Tied = "refuse") -> Model:
        """Edit ``model`` in place, site by site, and return it. Arguments and errors as for ``apply``.

        Ctrl-C halfway leaves some sites edited and others not; ``apply`` and ``on`` keep the originals.
        """
        sites = self._admit(model, check, tied)
        for name in self._tied(model, sites):
            untie(model, name)
        self._write(sites)
        return model

    @contextlib.contextmanager
    def on(self, model: nn.Module, *, check: bool = True, tied: Tied = "refuse") -> Iterator[nn.Module]:
        """The model edited inside, and its own parameters back, bit for bit, on leaving. Arguments as for ``apply``."""
        sites = self._admit(model, check, tied)
        originals: list[tuple[nn.Module, str, nn.Parameter]] = []
        try:
            for owner, name in dict.fromkeys(place for site in sites.values() for place in site.parameters):
                parameter = cast(nn.Parameter, getattr(owner, name))
                originals.append((owner, name, parameter))
                clone = nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
                setattr(owner, name, clone)
            self._write(sites)
            yield model
        finally:
            for owner, name, parameter in originals:
                setattr(owner, name, parameter)

    def materialize(self) -> Edit:
        """The same edit as tensors, computed once: as large as the weights of its sites."""
        dense = Dense(dict(self.items()), self.fingerprint, self.describe())
        return Edit((Term(1.0, dense),))

    def describe(self) -> dict[str, Any]:
        """How the edit came about, for artifacts and reports."""
        terms = [term.describe() for term in self.terms]
        return {"terms": terms} if len(terms) > 1 else terms[0]

    def save(self, path: str | Path) -> None:
        """Write the edit as a safetensors file, with its description and the model's fingerprint."""
        tensors = {site: delta.contiguous().cpu() for site, delta in self.items()}
        header = {"fingerprint": self.fingerprint, "description": self.describe(), "versions": versions()}
        metadata = {"format": FORMAT, "version": str(VERSION), "header": json.dumps(header)}
        with replacing_file(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)

    @classmethod
    def load(cls, path: str | Path) -> Edit:
        """Read what ``save`` wrote.

        Raises:
            ArtifactError: the file is missing, damaged, or no edit.
        """
        header = read_header(path, FORMAT, VERSION, "edit; make one with Edit.save")
        try:
            with safetensors.safe_open(str(path), framework="pt") as file:
                tensors = {site: file.get_tensor(site) for site in file.keys()}  # noqa: SIM118 - no mapping
            return cls((Term(1.0, Dense(tensors, header["fingerprint"], header["description"])),))
        except (KeyError, safetensors.SafetensorError) as error:
            raise ArtifactError(f"{path} is damaged: {error}") from error

    def __add__(self, other: Any) -> Edit:
        terms = _terms(other)
        if terms is None:
            return NotImplemented
        for term in terms:
            if term.deltas.fingerprint != self.fingerprint:
                raise FingerprintError(
                    "these edits belong to different models; only those of one model can be combined"
                )
        return Edit(self.terms + terms)

    def __radd__(self, other: Any) -> Edit:
        return self if other == 0 else self.__add__(other)  # so that sum() works

    def __sub__(self, other: Any) -> Edit:
        terms = _terms(other)
        return NotImplemented if terms is None else self + Edit(tuple(term.scaled(-1.0) for term in terms))

    def __mul__(self, factor: float) -> Edit:
        return Edit(tuple(term.scaled(float(factor)) for term in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> Edit:
        return -1.0 * self

    def _admit(self, model: nn.Module, check: bool, tied: Tied) -> dict[str, Site]:
        """The sites in ``model``, after every reason to refuse it."""
        if tied not in ("refuse", "untie"):
            raise TiedWeightsError(f"tied={tied!r} is neither 'refuse' nor 'untie'")
        if check and fingerprint(model) != self.fingerprint:
            raise FingerprintError(
                "this edit was made for another model (or this one has changed since); make it again, or pass "
                "check=False if you know that it fits"
            )
        sites = sites_by_name(model, self.sites())
        for term in self.terms:
            for name in term.deltas.sites():
                if name in sites:
                    term.deltas.check(name, sites[name])
        shared = self._tied(model, sites)
        if shared and tied == "refuse":
            partner = next(n for n in tied_parameters(model)[shared[0]] if n != shared[0])
            raise TiedWeightsError(
                f"{shared[0]!r} is the same tensor as {partner!r}, so that editing one would change the other; pass "
                "tied='untie' to give it a copy of its own first, or leave its site out"
            )
        return sites

    def _write(self, sites: Mapping[str, Site]) -> None:
        """Add every delta, those of one module together.

        The deltas may be computed from the very weights that are written to, and the sites of one module (experts,
        the projections of an attention) may be slices of one tensor.
        """
        expected = Counter(id(site.module) for site in sites.values())
        waiting: dict[int, dict[str, Tensor]] = {}
        for name, delta in self.items():
            check_finite(name, delta)
            module = id(sites[name].module)
            ready = waiting.setdefault(module, {})
            ready[name] = delta
            if len(ready) == expected[module]:
                for site, found in waiting.pop(module).items():
                    sites[site].add_(found)

    @staticmethod
    def _tied(model: nn.Module, sites: Mapping[str, Site]) -> list[str]:
        shared = tied_parameters(model)
        if not shared:
            return []
        owners = module_names(model)
        return [name for site in sites.values() for name in parameter_names(model, site, owners) if name in shared]


def check_finite(site: str, delta: Tensor) -> None:
    """Refuse to add what would spoil a weight.

    Raises:
        NonFiniteError: an entry is NaN or infinite.
    """
    if not torch.isfinite(delta).all():
        raise NonFiniteError(f"the edit makes {site!r} infinite; choose a smaller strength or a coarser cut")


def _strengthened(description: dict[str, Any], strength: float | Mapping[str, float]) -> dict[str, Any]:
    """A description times a strength: tensors that were loaded or materialised have one of their own already."""
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


def _terms(value: Any) -> tuple[Term, ...] | None:
    if isinstance(value, Edit):
        return value.terms
    if hasattr(value, "items") and hasattr(value, "fingerprint"):  # an engram
        return (Term(1.0, value),)
    return None
