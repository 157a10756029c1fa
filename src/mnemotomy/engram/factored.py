"""A concept's engrams for many filters from one decomposition per input, as low-rank factors.

``P = S f(M) S†`` with ``M = V diag(μ) Vᵀ`` gives ``W⁺ = (W S V) f(μ) (Vᵀ S†)``: once both factors are there, another
filter or strength costs one thin product per site, and directions with μ = 0 cost nothing. M has at most as many μ
above 0 as the concept has rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.progress import progress_bar
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.deltas import Deltas, Term
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.engram import Engram
from mnemotomy.engram.filters import FILTER, Filter, Linear, Soft
from mnemotomy.engram.products import full_precision
from mnemotomy.engram.sites import Site
from mnemotomy.engram.spectrum import SMALLEST

RESIDUAL = 1e-9  # the paper's cut is 1e-6


@dataclass(frozen=True)
class Factors:
    """One site's part: ``W⁺ = left · f(μ) · right``.

    Attributes:
        left: ``W S V``.
        written: ``P_out W S V``, for engrams that keep only what also writes in the concept's directions.
        mu: of the directions, above 0.
        right: ``Vᵀ S†``.
        share: n⁺/N at the site.
    """

    left: Float[Tensor, "out r"]
    written: Float[Tensor, "out r"]
    mu: Float[Tensor, " r"]
    right: Float[Tensor, "r d"]
    share: float


class FactoredConcept:
    """The decomposition of one concept, site by site as edits need it: in all about twice the edited weights.

    Args:
        atlas: of the concept and its reference; its inputs are dense and ungrouped.
        concepts: one or several, merged.
        progress: show a bar on a terminal.
        residual: what a factor of Σ⁺ may leave out, relative to its largest entry; a thousandth of the cut of Σ_total.

    Raises:
        ConfigurationError: a site is grouped or reads one-hot rows.
        ConceptError: as ``Atlas.engram``.
    """

    def __init__(
        self, atlas: Atlas, concepts: str | Sequence[str], *, progress: bool = True, residual: float = RESIDUAL
    ) -> None:
        self.engram: Engram = atlas.engram(concepts)
        self.names = self.engram.sites()
        self.sites: dict[str, Site] = atlas.sites
        self._atlas, self._progress, self._residual = atlas, progress, residual
        self._factors: dict[str, Factors] = {}
        self._readers: dict[tuple[str, bool], list[str]] = {}
        for name in self.names:
            self._readers.setdefault(self._input(name), []).append(name)
        for name, *_ in self._readers.values():
            if atlas.second_moment(name, self.engram.concepts).dim() != 2:
                raise ConfigurationError(
                    f"site {name!r} is grouped or reads one-hot rows, which have no low-rank factors here; leave it "
                    "out, or use Atlas.engram"
                )

    def factors(self, site: str) -> Factors:
        """One site's part."""
        self.decompose([site])
        return self._factors[site]

    def decompose(self, sites: Iterable[str]) -> None:
        """Compute what is not there yet, from the weights as they are now: before the model is edited in place."""
        missing = list(dict.fromkeys(self._input(site) for site in sites if site not in self._factors))
        if missing:
            with progress_bar("factorising", len(missing), enabled=self._progress) as advance:
                for one in missing:
                    self._decompose(self._atlas, self._readers[one])
                    advance(1)

    def _input(self, site: str) -> tuple[str, bool]:
        """What the site reads; the readers of one input are decomposed together."""
        return self._atlas.moments.readers[site], self._atlas.sites[site].has_bias

    def _decompose(self, atlas: Atlas, readers: list[str]) -> None:
        first = readers[0]
        concept = atlas.second_moment(first, self.engram.concepts)
        share = atlas.share(first, self.engram.concepts)
        with full_precision():
            root, inverse_root = atlas.spectrum(first).roots()
            mu, basis = _directions(inverse_root @ _thin_root(concept, self._residual).to(inverse_root))
            narrow, right = root @ basis, (basis.mT @ inverse_root).float()
            for name in readers:
                left = atlas.weight(name).to(narrow.dtype) @ narrow
                written = atlas.project_outputs(name, concept, left)
                self._factors[name] = Factors(left.float(), written.float(), mu.float(), right, share)

    def filtered(self, filter: Filter | None = None, *, outputs: bool = False) -> Filtered:
        """The engram under a filter, as ``Atlas.engram`` gives it.

        Raises:
            ConfigurationError: the filter is not a function of μ.
        """
        filter = filter if filter is not None else Soft()
        if isinstance(filter, Linear) and not isinstance(filter, Soft):
            raise ConfigurationError(f"{type(filter).__name__} is not a function of μ; use Atlas.engram")
        return Filtered(self, filter, outputs)


def _thin_root(concept: Float[Tensor, "d d"], residual: float) -> Float[Tensor, "d r"]:
    """``L`` with ``L Lᵀ = Σ⁺``, up to ``residual`` times its largest entry, in float64.

    Pivoted Cholesky stops at the rank of Σ⁺, so that a concept of few rows costs little.
    """
    from scipy.linalg.lapack import dpstrf

    found = concept.double().cpu().numpy()
    largest = float(concept.diagonal().max())
    factor, pivots, rank, _ = dpstrf(found, lower=1, tol=residual * largest)
    lower = torch.from_numpy(factor).tril()[:, :rank]
    root = torch.empty_like(lower)
    root[torch.from_numpy(pivots).long() - 1] = lower
    return root.to(concept.device)


def _directions(whitened: Float[Tensor, "k r"]) -> tuple[Float[Tensor, " m"], Float[Tensor, "k m"]]:
    """The μ above 0 and their eigenvectors of ``M = A Aᵀ``, from the smaller of both Gram matrices."""
    if whitened.shape[0] <= whitened.shape[1]:
        mu, basis = torch.linalg.eigh(whitened @ whitened.mT)
        kept = mu > SMALLEST
        return mu[kept].clamp(max=1.0), basis[:, kept]
    mu, inner = torch.linalg.eigh(whitened.mT @ whitened)
    kept = mu > SMALLEST
    return mu[kept].clamp(max=1.0), (whitened @ inner[:, kept]) / mu[kept].sqrt()


class Filtered(Deltas):
    """One filter's engram, computed site by site from the factors."""

    def __init__(self, concept: FactoredConcept, filter: Filter, outputs: bool) -> None:
        self.concept, self.filter, self.outputs = concept, filter, outputs

    @property
    def fingerprint(self) -> str:
        return self.concept.engram.fingerprint

    def sites(self) -> tuple[str, ...]:
        return self.concept.names

    def __getitem__(self, site: str) -> Float[Tensor, "out d"]:
        left, right = self.thin(site)
        with full_precision():
            return left @ right

    def thin(self, site: str) -> tuple[Float[Tensor, "out k"], Float[Tensor, "k d"]]:
        """Two factors of ``W⁺`` without the directions that the filter leaves alone."""
        if site not in self.concept.names:
            raise self._unknown(site, "engram")
        found = self.concept.factors(site)
        response = self.filter.response(found.mu, found.share)
        kept = response != 0
        left = (found.written if self.outputs else found.left)[:, kept]
        return left * response[kept], found.right[kept]

    def weight_norms(self) -> dict[str, float]:
        """``‖W⁺‖/‖W‖`` per site, rescaled to a maximum of 1 (``strength.weight_norm``)."""
        atlas = self.concept.engram.atlas
        ratios = {site: float(delta.norm() / atlas.weight(site).norm()) for site, delta in self.pairs()}
        largest = max(ratios.values()) or 1.0
        return {site: ratio / largest for site, ratio in ratios.items()}

    def check(self, name: str, site: Site) -> None:
        self.concept.engram.check(name, site)

    def describe(self) -> dict[str, Any]:
        return {**self.concept.engram.describe(), "filter": FILTER.describe(self.filter), "outputs": self.outputs}

    def times(self, strengths: dict[str, float]) -> Edit:
        """The edit with a strength per site."""
        return Edit((Term(strengths, self),))
