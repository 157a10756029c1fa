"""The parts of engrams: a model's weights, Σ by site, and Σ_total factorised once per distinct input."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import ConceptError, FingerprintError, NonFiniteError, SelectionError
from mnemotomy.core.fingerprints import digest, digests, fingerprint_of
from mnemotomy.engram.cut import Cut, RelativeCut
from mnemotomy.engram.factorise import factorise
from mnemotomy.engram.moments import Moments
from mnemotomy.engram.outputs import WeightBasis
from mnemotomy.engram.products import full_precision
from mnemotomy.engram.sites import Site, module_names, parameter_names, sites_by_name
from mnemotomy.engram.spectrum import Spectrum

Key = TypeVar("Key")

_REMEMBERING = threading.Lock()  # of the process, as an atlas with a lock of its own could not be copied


class Operators:
    """Moments of one model, factorised on demand.

    Arguments and errors as for ``Atlas``.
    """

    def __init__(
        self,
        model: nn.Module,
        moments: Moments,
        cut: Cut | None = None,
        base: nn.Module | None = None,
        *,
        precision: torch.dtype | None = None,
        keep: int | None = None,
        check: bool = True,
    ) -> None:
        self.moments = moments
        self.cut = cut if cut is not None else RelativeCut()
        self.precision = precision
        self._digests = digests(model)
        self.fingerprint = fingerprint_of(self._digests)
        if check:  # first, as another model may lack the sites
            moments.check(self.fingerprint)
        self.sites: dict[str, Site] = sites_by_name(model, moments.readers)
        self.base_sites = None if base is None else sites_by_name(base, moments.readers)
        self._keep = keep
        self._spectra: OrderedDict[tuple[str, bool], Spectrum] = OrderedDict()
        self._output_spectra: OrderedDict[str, Spectrum] = OrderedDict()
        owners = module_names(model)
        self._parameters = {name: parameter_names(model, site, owners) for name, site in self.sites.items()}
        self._versions = {name: _version(tensor) for site in self.sites for name, tensor in self._tensors(site)}
        self._check_references()

    @property
    def concepts(self) -> tuple[str, ...]:
        """The names of the concepts."""
        return self.moments.concepts

    def weight(self, site: str) -> Float[Tensor, "out d"]:
        """The canonical weight that engrams of ``site`` are parts of: ``W``, or ``W − W₀`` if a base was given.

        Raises:
            FingerprintError: the model has changed since the atlas was built.
            NonFiniteError: the weight is not finite.
        """
        self._check_unchanged(site)
        weight = self.sites[site].weight()
        if self.base_sites is not None:
            base = self.base_sites[site].weight()
            if base.shape != weight.shape:
                raise SelectionError(
                    f"site {site!r} has shape {list(weight.shape)} here and {list(base.shape)} in the base"
                )
            weight = weight - base.to(weight.device)
        if not bool(torch.isfinite(weight).all()):
            raise NonFiniteError(f"the weight of site {site!r} is not finite")
        return weight.to(self.moments.moment(site, self.concepts[0]).first.device)

    def second_moment(self, site: str, concepts: Sequence[str]) -> Tensor:
        """Σ of the union of ``concepts`` as ``site`` needs it, extended by 1 if it has a bias."""
        return self.moments.union(site, concepts).extended(self.sites[site].has_bias)

    def spectrum(self, site: str) -> Spectrum:
        """The factorised Σ_total of ``site``'s input, shared by all sites that read it."""
        key = (self.moments.readers[site], self.sites[site].has_bias)
        return self._remembered(self._spectra, key, lambda: self.second_moment(site, self.concepts))

    def share(self, site: str, concepts: Sequence[str]) -> float:
        """``n⁺/N``: the share of the rows at ``site`` that belong to ``concepts``."""
        rows = sum(self.moments.count(site, c) for c in concepts)
        return rows / max(1, sum(self.moments.count(site, c) for c in self.concepts))

    def project_outputs(
        self, site: str, concept: Tensor, delta: Float[Tensor, "*groups out d"]
    ) -> Float[Tensor, "*groups out d"]:
        """``P_out delta``, without computing ``P_out`` if the site has more outputs than inputs.

        Args:
            concept: Σ⁺ of its inputs (``second_moment``).
            delta: canonical, per group.
        """
        basis = self._weight_basis(site)
        return basis.project(delta, concept, self._output_spectrum(site, basis))

    def _weight_basis(self, site: str) -> WeightBasis:
        groups, weight = self.sites[site].groups, self.weight(site)
        return WeightBasis.by(weight.unflatten(0, (groups, -1)) if groups > 1 else weight)

    def _output_spectrum(self, site: str, basis: WeightBasis) -> Spectrum:
        def total() -> Tensor:
            return basis.moment(self.second_moment(site, self.concepts))

        return self._remembered(self._output_spectra, site, total)

    def _remembered(self, spectra: OrderedDict[Key, Spectrum], key: Key, total: Callable[[], Tensor]) -> Spectrum:
        """The spectrum under ``key``, factorised if it is not kept; other threads may ask for others meanwhile."""
        with _REMEMBERING:
            found = spectra.pop(key, None)
        if found is None:
            with full_precision():
                found = factorise(total(), self.cut, self.precision)
        with _REMEMBERING:
            spectra[key] = found
            while self._keep is not None and len(spectra) > max(1, self._keep):
                spectra.popitem(last=False)
        return found

    def _check_references(self) -> None:
        for site, reader in self.sites.items():
            for concept in self.concepts:
                rows = self.moments.count(site, concept)
                if not reader.routed and self.share(site, [concept]) == 1.0:
                    raise ConceptError(
                        f"concept {concept!r} has no reference at site {site!r}: all {rows} rows are its own; collect "
                        "other examples too, under another name"
                    )

    def _tensors(self, site: str) -> list[tuple[str, Tensor]]:
        """The parameters of ``site`` by full name."""
        places = zip(self._parameters[site], self.sites[site].parameters, strict=True)
        return [(name, getattr(owner, leaf)) for name, (owner, leaf) in places]

    def _check_unchanged(self, site: str) -> None:
        for name, tensor in self._tensors(site):
            current = _version(tensor)
            if current == self._versions[name]:
                continue
            # written to, perhaps with the same numbers, as on leaving Edit.on: only the content tells
            if digest(tensor) != self._digests[name]:
                raise FingerprintError(
                    f"the weight of site {site!r} has changed since this atlas was built; build the atlas again, or "
                    "edit with apply() or on(), which leave the model as it was"
                )
            self._versions[name] = current


def _version(tensor: Tensor) -> tuple[int, int]:
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version
