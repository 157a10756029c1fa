"""An engram: per site, the weights ``W⁺ = W P`` that carry one concept (Eq. 3, 4, 6). Lazy, and a vector."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from typing import Any

from jaxtyping import Float
from torch import Tensor

from mnemotomy.core.errors import SelectionError
from mnemotomy.engram.cut import CUT
from mnemotomy.engram.deltas import Deltas, Term
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.filters import FILTER, Filter
from mnemotomy.engram.guards import warn_of_rows
from mnemotomy.engram.operators import Operators
from mnemotomy.engram.products import full_precision
from mnemotomy.engram.side_by_side import Size, batches, side_by_side
from mnemotomy.engram.sites import Site
from mnemotomy.engram.spectrum import effective_rank


class Engram(Deltas):
    """The weights of ``concepts`` (merged into one), computed site by site on demand.

    ``engram[site]`` is ``W⁺ [out, d]`` in float32, the bias as its last column. Engrams add and scale into edits:
    ``-0.6 * atlas["alice"] + atlas["bob"]``. With ``outputs``, ``W⁺ = P_out W P``: what both reads and writes the
    concept (``Atlas.output_operator``).
    """

    def __init__(self, atlas: Operators, concepts: tuple[str, ...], filter: Filter, outputs: bool = False) -> None:
        self.atlas = atlas
        self.concepts = concepts
        self.filter = filter
        self.outputs = outputs

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model that the engram belongs to."""
        return self.atlas.fingerprint

    def sites(self) -> tuple[str, ...]:
        """The names of the sites, grouped by the input they read."""
        by_input: dict[tuple[str, bool], list[str]] = {}
        for name in self.atlas.sites:
            by_input.setdefault(self._input(name), []).append(name)
        return tuple(name for group in by_input.values() for name in group)

    def __getitem__(self, site: str) -> Float[Tensor, "out d"]:
        if site not in self:
            raise self._unknown(site, "engram")
        return self._project([site])[0]

    def __contains__(self, site: object) -> bool:
        return site in self.atlas.sites

    def pairs(self) -> Iterator[tuple[str, Float[Tensor, "out d"]]]:
        """All sites, one input at a time: what several sites share is computed once and then freed."""
        return self.some(frozenset(self.sites()))

    def some(self, wanted: Collection[str]) -> Iterator[tuple[str, Float[Tensor, "out d"]]]:
        by_input = itertools.groupby((site for site in self.sites() if site in wanted), key=self._input)
        groups = (list(readers) for _, readers in by_input)
        for batch in batches((names, self._size(names)) for names in groups):
            with full_precision():  # a setting of the process, so it is made once for all threads
                found = side_by_side(self._project, batch)
            for (names, _), deltas in zip(batch, found, strict=True):
                yield from zip(names, deltas, strict=True)

    def ratios(self) -> dict[str, float]:
        """``‖W⁺‖_F / ‖W‖_F`` per site: the weight-norm ratio of Section 7."""
        return dict(self.each_ratio())

    def each_ratio(self) -> Iterator[tuple[str, float]]:
        """The pairs of ``ratios`` one by one."""
        for site, engram in self.items():
            norm = float(self.atlas.weight(site).norm())
            yield site, float(engram.norm()) / norm if norm > 0 else 0.0

    def effective_ranks(self) -> dict[str, float]:
        """Per site, the effective rank of Σ⁺ over that of Σ_total (Roy & Vetterli 2007), usually in [0, 1]."""
        ranks: dict[tuple[str, bool], float] = {}
        for site in self.sites():
            key = self._input(site)
            if key not in ranks:
                concept = effective_rank(self.atlas.second_moment(site, self.concepts))
                ranks[key] = concept / max(1.0, effective_rank(self.atlas.second_moment(site, self.atlas.concepts)))
        return {site: ranks[self._input(site)] for site in self.sites()}

    def materialize(self) -> Edit:
        """An edit of strength 1 with its tensors in memory: for repeated use, as large as the weights."""
        return (1.0 * self).materialize()

    def describe(self) -> dict[str, Any]:
        """Concepts, cut and filter, as artifacts record them."""
        return {
            "concepts": list(self.concepts),
            "of": list(self.atlas.concepts),
            "cut": CUT.describe(self.atlas.cut),
            "filter": FILTER.describe(self.filter),
            "outputs": self.outputs,
            "delta": self.atlas.base_sites is not None,
        }

    def check(self, name: str, site: Site) -> None:
        """Refuse a site whose shape differs from the one that the engram was made for.

        Raises:
            SelectionError: it gives both shapes.
        """
        own = self.atlas.sites[name]
        if own.module is site.module:
            return
        here, made = ([list(getattr(owner, leaf).shape) for owner, leaf in one.parameters] for one in (site, own))
        if here != made:
            raise SelectionError(f"site {name!r} has weights of shape {here} here and {made} in the engram")

    def __mul__(self, factor: float) -> Edit:
        warn_of_rows(self.atlas.moments, self.concepts)
        return Edit((Term(float(factor), self),))

    __rmul__ = __mul__

    def __neg__(self) -> Edit:
        return -1.0 * self

    def __add__(self, other: Engram | Edit) -> Edit:
        return 1.0 * self + other

    def __sub__(self, other: Engram | Edit) -> Edit:
        return 1.0 * self - other

    def _input(self, site: str) -> tuple[str, bool]:
        return self.atlas.moments.readers[site], self.atlas.sites[site].has_bias

    def _size(self, names: list[str]) -> Size:
        """What the engrams of sites that read one input take."""
        moment = self.atlas.moments.moment(names[0], self.concepts[0])
        sites = [self.atlas.sites[name] for name in names]
        entries = sum(site.part(getattr(*place)).numel() for site in sites for place in site.parameters)
        return Size(moment.shape[-1], entries, alone=len(moment.shape) != 2 or not moment.first.is_cpu)

    def _project(self, names: list[str]) -> list[Tensor]:
        """``W⁺`` of sites that read one input."""
        atlas = self.atlas
        groups = atlas.sites[names[0]].groups
        weights = [atlas.weight(name) for name in names]
        if groups > 1:
            weights = [weight.unflatten(0, (groups, -1)) for weight in weights]
        concept, share = atlas.second_moment(names[0], self.concepts), atlas.share(names[0], self.concepts)
        with full_precision():
            found = atlas.spectrum(names[0]).project(weights, concept, self.filter, share)
        if self.outputs:
            found = [atlas.project_outputs(name, concept, delta) for name, delta in zip(names, found, strict=True)]
        return [(w.flatten(0, 1) if groups > 1 else w).float() for w in found]
