"""Weighing: where in a model a concept is kept (Section 7, Fig. 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from mnemotomy.engram.filters import Filter

if TYPE_CHECKING:
    from mnemotomy.engram.atlas import Atlas


def trace(atlas: Atlas, concepts: Sequence[str], filter: Filter | None = None) -> pd.DataFrame:
    """One row per concept and site.

    Columns: ``concept``, ``site``, ``layer`` (block), ``kind`` (projection), ``weight_norm`` (‖W⁺‖/‖W‖),
    ``effective_rank`` (of Σ⁺), ``degrees_of_freedom`` (tr P, directions counted by share), ``share`` (n⁺/N),
    ``rows`` (n⁺), ``rank`` (directions kept by the cut), ``width`` (d).
    """
    records = []
    for concept in concepts:
        engram = atlas.engram(concept, filter)
        of_input: dict[tuple[str, bool], dict[str, float]] = {}
        for name, ratio in engram.ratios().items():
            site = atlas.sites[name]
            key = (atlas.moments.readers[name], site.has_bias)
            if key not in of_input:
                moment, spectrum = atlas.second_moment(name, engram.concepts), atlas.spectrum(name)
                of_input[key] = {
                    "effective_rank": effective_rank(moment),
                    "degrees_of_freedom": spectrum.degrees_of_freedom(moment),
                    "share": atlas.share(name, engram.concepts),
                    "rows": sum(atlas.moments.count(name, c) for c in engram.concepts),
                    "rank": spectrum.rank,
                    "width": moment.shape[-1],
                }
            head = {"concept": concept, "site": name, "layer": site.layer, "kind": site.kind, "weight_norm": ratio}
            records.append({**head, **of_input[key]})
    table = pd.DataFrame.from_records(records)
    return table.astype({"layer": "Int64", "rows": "int64", "rank": "int64", "width": "int64"})


def effective_rank(moment: Tensor) -> float:
    """``exp`` of the entropy of the normalised eigenvalues of Σ (Roy & Vetterli 2007); groups are averaged."""
    eigenvalues = moment[None] if moment.dim() == 1 else torch.linalg.eigvalsh(moment)
    eigenvalues = eigenvalues.double().clamp_min(0).reshape(-1, eigenvalues.shape[-1])
    shares = eigenvalues / eigenvalues.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    entropy = -torch.special.xlogy(shares, shares).sum(-1)
    return float(entropy.exp().mean()) if bool((eigenvalues > 0).any()) else 0.0
