"""The atlas: the engrams of all concepts over one shared Σ_total, factorised once per distinct input (Eq. 4, 6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.core.errors import ConceptError
from mnemotomy.core.frames import frame
from mnemotomy.core.progress import shown
from mnemotomy.engram.engram import Engram
from mnemotomy.engram.filters import Filter, Soft
from mnemotomy.engram.operators import Operators
from mnemotomy.engram.products import full_precision
from mnemotomy.engram.spectrum import effective_rank

if TYPE_CHECKING:
    import pandas as pd


class Atlas(Operators):
    """Every concept of some moments as an engram of one model.

    Everything is computed on demand and no weight is copied: the atlas reads the model's own tensors, and refuses to
    work once they have changed. A concept's reference is all other concepts together.

    Args:
        model: the model whose moments these are.
        moments: of at least two concepts.
        cut: which eigendirections of Σ_total are inverted.
        base: ``W₀``; with it, engrams are of ``ΔW = W − W₀`` (Eq. 3) instead of ``W`` (Eq. 4).
        precision: of the factorisation and the products; by default float32 if Σ_total is well-conditioned, else
            float64. The cut does not depend on it.
        keep: how many factorisations to keep; all by default. For one edit, 1 suffices and takes the least memory.
        check: refuse a model whose fingerprint differs from that of the moments.

    Raises:
        ConceptError: a concept has no reference.
        FingerprintError: the moments belong to another model.
    """

    def __getitem__(self, concept: str | int | Sequence[str]) -> Engram:
        """The engram of one concept, or of several merged into one."""
        return self.engram(concept)

    def __iter__(self) -> Iterator[str]:
        return iter(self.concepts)

    def __len__(self) -> int:
        return len(self.concepts)

    def __contains__(self, concept: object) -> bool:
        return concept in self.concepts

    def engram(
        self, concepts: str | int | Sequence[str], filter: Filter | None = None, *, outputs: bool = False
    ) -> Engram:
        """The engram of the union of ``concepts``, from their merged moments; only ``Soft`` and ``Ridge`` are additive.

        Args:
            concepts: one or several.
            filter: of μ; ``Soft`` by default.
            outputs: keep only what also writes in the concept's directions: ``W⁺ = P_out W P`` (``output_operator``).

        Raises:
            ConceptError: a concept is unknown, or no reference is left.
        """
        names = (str(concepts),) if isinstance(concepts, str | int) else tuple(dict.fromkeys(map(str, concepts)))
        for name in names:
            if name not in self.concepts:
                known = ", ".join(map(repr, self.concepts))
                raise ConceptError(f"no concept {name!r} in this atlas; there are {known}")
        if not names:
            raise ConceptError("an engram needs at least one concept")
        if len(names) == len(self.concepts):
            raise ConceptError(f"concept {names[0]!r} has no reference: all {len(names)} concepts are in its engram")
        return Engram(self, names, filter if filter is not None else Soft(), outputs)

    def operator(self, site: str, concepts: str | Sequence[str], filter: Filter | None = None) -> Tensor:
        """``P`` with ``W⁺ = W P``: ``[d, d]``, per group for grouped convolutions, its diagonal for one-hot rows."""
        engram = self.engram(concepts, filter)
        spectrum = self.spectrum(site)
        moment = self.second_moment(site, engram.concepts)
        with full_precision():
            return spectrum.operator(moment, engram.filter, self.share(site, engram.concepts))

    def output_operator(self, site: str, concepts: str | Sequence[str]) -> Float[Tensor, "*groups out out"]:
        """``P_out = Γ⁺ (Γ⁺ + Γ⁻)†`` with ``Γ = W Σ Wᵀ``, the second moments of what ``site`` writes.

        It is for outputs what ``P`` is for inputs: the map ``A`` with the least ``‖A Z⁺ − Z⁺‖² + ‖A Z⁻‖²``. It needs
        no extra pass.

        Raises:
            ConceptError: a concept is unknown, or no reference is left.
        """
        names = self.engram(concepts).concepts
        basis = self._weight_basis(site)
        return basis.operator(self.second_moment(site, names), self._output_spectrum(site, basis))

    def complement(self, site: str) -> Tensor:
        """``Q = I − Σᵢ Pᵢ`` (Section 6.3): the directions below the cut, which belong to no concept."""
        parts = [self.operator(site, concept) for concept in self.concepts]
        total = torch.stack(parts).sum(0)
        identity = torch.ones_like(total) if total.dim() == 1 else torch.eye(total.shape[-1]).to(total)
        return identity - total

    def mu(self, site: str, concepts: str | Sequence[str]) -> Tensor:
        """The eigenvalues of P: the share of each kept direction of ``site``'s input that belongs to ``concepts``."""
        engram = self.engram(concepts)
        with full_precision():
            return self.spectrum(site).mu(self.second_moment(site, engram.concepts))

    def trace(
        self, concepts: Sequence[str] | None = None, filter: Filter | None = None, *, progress: bool = False
    ) -> pd.DataFrame:
        """Where in the model each concept is kept (Section 7, Fig. 9): one row per concept and site.

        Columns: ``concept``, ``site``, ``layer`` (block), ``kind`` (projection), ``weight_norm`` (‖W⁺‖/‖W‖),
        ``effective_rank`` (of Σ⁺), ``degrees_of_freedom`` (tr P, directions counted by share), ``share`` (n⁺/N),
        ``rows`` (n⁺), ``rank`` (directions kept by the cut), ``width`` (d). With ``progress``, a bar on a terminal
        counts the rows of the table. Needs the package ``pandas``; ``trace_rows`` does not.
        """
        table = frame(self.trace_rows(concepts, filter, progress=progress))
        return table.astype({"layer": "Int64", "rows": "int64", "rank": "int64", "width": "int64"})

    def trace_rows(
        self, concepts: Sequence[str] | None = None, filter: Filter | None = None, *, progress: bool = False
    ) -> list[dict[str, Any]]:
        """The rows of ``trace``."""
        records: list[dict[str, Any]] = []
        engrams = {name: self.engram(name, filter) for name in (concepts if concepts is not None else self.concepts)}
        for concept, engram in engrams.items():
            of_input: dict[tuple[str, bool], dict[str, float]] = {}
            for name, ratio in shown(f"tracing {concept}", engram.each_ratio(), len(engram), step=1, enabled=progress):
                site = self.sites[name]
                key = (self.moments.readers[name], site.has_bias)
                if key not in of_input:
                    moment, spectrum = self.second_moment(name, engram.concepts), self.spectrum(name)
                    of_input[key] = {
                        "effective_rank": effective_rank(moment),
                        "degrees_of_freedom": spectrum.degrees_of_freedom(moment),
                        "share": self.share(name, engram.concepts),
                        "rows": sum(self.moments.count(name, c) for c in engram.concepts),
                        "rank": spectrum.rank,
                        "width": moment.shape[-1],
                    }
                head = {"concept": concept, "site": name, "layer": site.layer, "kind": site.kind, "weight_norm": ratio}
                records.append({**head, **of_input[key]})
        return records
