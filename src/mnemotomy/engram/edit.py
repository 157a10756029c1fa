"""An edit: a linear combination of engrams with a strength per site, applied to a model, undone, saved (Eq. 7, 8)."""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import (
    Any,
    Literal,
    NotRequired,  # pydantic asks for these before Python 3.12
    TypeVar,
    cast,
)

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import TypedDict

from mnemotomy.core.artifacts import Artifact
from mnemotomy.core.errors import FingerprintError, NonFiniteError, TiedWeightsError
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.modules import tied_parameters, untie
from mnemotomy.core.progress import shown
from mnemotomy.core.version import versions
from mnemotomy.engram.deltas import BySite, Deltas, Dense, Term
from mnemotomy.engram.sites import Site, module_names, parameter_names, sites_by_name


class _Kind(TypedDict):
    kind: str


class _Description(TypedDict, total=False):
    """One term, or several."""

    terms: list[_Description]
    concepts: list[str]
    method: str
    cut: _Kind
    filter: _Kind
    strength: float | dict[str, float]


class _Recipe(TypedDict, total=False):
    model: str
    dtype: str


class _About(TypedDict, total=False):
    recipe: _Recipe
    recipe_hash: str
    weight_norms: dict[str, float]


class _Header(TypedDict):
    fingerprint: str
    description: _Description
    about: NotRequired[_About]


ARTIFACT = Artifact("mnemotomy-edit", "an edit; make one with 'mnemotomy apply --as edit' or Edit.save", shape=_Header)

Tied = Literal["refuse", "untie"]
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Edit(BySite):
    """What is added to a model's weights: ``Σ strength · W⁺`` per site. A vector: ``+``, ``-`` and scalars.

    Erasing is −1 times an engram, injecting +1.
    """

    terms: tuple[Term, ...]

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model that the edit belongs to."""
        return self.terms[0].deltas.fingerprint

    def sites(self) -> tuple[str, ...]:
        """The sites that the edit touches."""
        return tuple(dict.fromkeys(site for term in self.terms for site in term.deltas.sites() if term.at(site) != 0.0))

    def __getitem__(self, site: str) -> Float[Tensor, "out d"]:
        """What is added to the canonical weight of ``site``: zeros if all strengths are 0."""
        parts = [term.at(site) * term.deltas[site] for term in self.terms if site in term.deltas]
        if not parts:
            raise self._unknown(site, "edit")
        return sum(parts[1:], parts[0])

    def pairs(self) -> Iterator[tuple[str, Float[Tensor, "out d"]]]:
        """All sites with what is added to them; a single engram is computed input by input, in little memory."""
        touched = set(self.sites())
        if len(self.terms) == 1:
            term = self.terms[0]
            yield from ((site, term.at(site) * delta) for site, delta in term.deltas.some(touched))
        else:
            yield from ((site, self[site]) for site in self.sites())

    def apply(self, model: Model, *, check: bool = True, tied: Tied = "refuse") -> Model:
        """An edited copy of ``model``, which stays as it is.

        Args:
            model: the model that the edit belongs to.
            check: refuse a model with another fingerprint.
            tied: what to do if a second layer shares an edited weight: ``refuse``, or ``untie`` it first.

        Raises:
            FingerprintError: the edit belongs to another model.
            TiedWeightsError: an edited weight is shared and ``tied`` is ``refuse``.
            SelectionError: the model lacks a site, or has it in another shape.
            NonFiniteError: a delta is not finite.
        """
        self._admit(model, check, tied)
        edited = copy.deepcopy(model)
        return self.apply_(edited, check=False, tied=tied)

    def apply_(self, model: Model, *, check: bool = True, tied: Tied = "refuse", progress: bool = False) -> Model:
        """Edit ``model`` in place, site by site, and return it. Arguments and errors as for ``apply``.

        With ``progress``, a bar on a terminal counts the sites.

        Ctrl-C halfway leaves some sites edited and others not; ``apply`` and ``on`` keep the originals.
        """
        sites = self._admit(model, check, tied)
        for name in self._tied(model, sites):
            untie(model, name)
        self._write(sites, progress)
        return model

    @contextlib.contextmanager
    def on(self, model: nn.Module, *, check: bool = True, tied: Tied = "refuse") -> Iterator[nn.Module]:
        """The edited model inside; its parameters are restored bit for bit on leaving. Arguments as for ``apply``."""
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
        """How the edit was made, for artifacts and reports."""
        terms = [term.describe() for term in self.terms]
        return {"terms": terms} if len(terms) > 1 else terms[0]

    def save(self, path: str | Path, *, about: Mapping[str, Any] | None = None, progress: bool = False) -> None:
        """Write the edit as a safetensors file, with its description and the model's fingerprint.

        Args:
            path: the file.
            about: further information on its origin, for ``read_about``.
            progress: show a bar on a terminal.
        """
        deltas = shown("computing the edit", self.items(), len(self.sites()), step=1, enabled=progress)
        tensors = {site: delta.contiguous().cpu() for site, delta in deltas}
        header = {"fingerprint": self.fingerprint, "description": self.describe(), "versions": versions()}
        header |= {} if about is None else {"about": dict(about)}
        ARTIFACT.write(path, tensors, header)

    @classmethod
    def load(cls, path: str | Path, *, verify: bool = True) -> Edit:
        """Read what ``save`` wrote; ``verify`` checks it against the hash of its content, which reads all of it.

        Raises:
            ArtifactError: the file is missing, damaged, or not an edit.
        """
        with ARTIFACT.reading(path, verify=verify) as (file, header):
            tensors = {site: file.get_tensor(site) for site in file.keys()}  # noqa: SIM118 - not a mapping
            if not all(tensor.is_floating_point() and tensor.dim() == 2 for tensor in tensors.values()):
                raise ValueError("a tensor is not a matrix of floating-point numbers")
            return cls((Term(1.0, Dense(tensors, header["fingerprint"], header["description"])),))

    def __add__(self, other: Any) -> Edit:
        terms = _terms(other)
        if terms is None:
            return NotImplemented
        for term in terms:
            if term.deltas.fingerprint != self.fingerprint:
                raise FingerprintError("these edits belong to different models; combine edits of one model only")
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
        """The sites in ``model``, after all checks."""
        if tied not in ("refuse", "untie"):
            raise TiedWeightsError(f"tied={tied!r} is neither 'refuse' nor 'untie'")
        if check and fingerprint(model) != self.fingerprint:
            raise FingerprintError(
                f"this edit was made for another model ({self.fingerprint[:12]}…), or this one has another dtype or "
                "has changed since; make the edit again for this model"
            )
        sites = sites_by_name(model, self.sites())
        for term in self.terms:
            for name in term.deltas:
                if name in sites:
                    term.deltas.check(name, sites[name])
        shared = self._tied(model, sites)
        if shared and tied == "refuse":
            partner = next(n for n in tied_parameters(model)[shared[0]] if n != shared[0])
            raise TiedWeightsError(
                f"{shared[0]!r} is the same tensor as {partner!r}, so editing one would change the other; pass "
                "tied='untie' to copy it first, or leave its site out"
            )
        return sites

    def _write(self, sites: Mapping[str, Site], progress: bool = False) -> None:
        """Add every delta, those of one module together.

        Deltas may be computed from the very weights that are written to, and the sites of one module (experts, the
        projections of an attention) may be slices of one tensor. If a float16 weight overflows, all of them are
        restored.
        """
        places = dict.fromkeys(place for site in sites.values() for place in site.parameters)
        narrow = [weight for owner, leaf in places if (weight := getattr(owner, leaf)).dtype is torch.float16]
        originals = [weight.detach().clone() for weight in narrow]
        try:
            self._add_all(sites, progress)
        except NonFiniteError:
            with torch.no_grad():
                for weight, original in zip(narrow, originals, strict=True):
                    weight.copy_(original)
            raise

    def _add_all(self, sites: Mapping[str, Site], progress: bool) -> None:
        expected = Counter(id(site.module) for site in sites.values())
        waiting: dict[int, dict[str, Tensor]] = {}
        for name, delta in shown("computing the edit", self.items(), len(self.sites()), step=1, enabled=progress):
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


def read_about(path: str | Path) -> dict[str, Any]:
    """The header of a saved edit: ``fingerprint``, ``description``, ``versions``, and ``about`` if it was given.

    Raises:
        ArtifactError: the file is missing, damaged, or not an edit.
    """
    with ARTIFACT.reading(path) as (_, header):
        return header


def check_finite(site: str, delta: Tensor) -> None:
    """Refuse a delta that would spoil a weight.

    Raises:
        NonFiniteError: an entry is NaN or infinite.
    """
    if not torch.isfinite(delta).all():
        raise NonFiniteError(f"the edit makes {site!r} infinite; choose a smaller strength or a coarser cut")


def _terms(value: Any) -> tuple[Term, ...] | None:
    if isinstance(value, Edit):
        return value.terms
    return (Term(1.0, value),) if isinstance(value, Deltas) else None
