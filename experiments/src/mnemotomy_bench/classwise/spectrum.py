"""The structure of the projections (Section 6.3): spectra of P for each class, of Q, and how far the Pᵢ overlap."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy_bench.classwise.class_engrams import Anatomy
from mnemotomy_bench.lab.cells import Record

POINTS = 64
"""How many values of a spectrum are kept, evenly spaced by rank."""


def spectra(anatomy: Anatomy) -> list[Record]:
    """One record per site; sites with one-hot rows are omitted: their P is a diagonal of shares.

    ``mu``: by class, the eigenvalues of P from the largest down. ``share``: n⁺/N by class, where μ would lie if classes
    were alike. ``overlap``: ``tr(Pᵢ Pⱼ) / √(tr Pᵢ² tr Pⱼ²)``, 0 for classes that share no direction. Q: how many of its
    eigenvalues are 1, and how far any is from 0 and 1; it is the projector on what the cut leaves out.
    """
    atlas = anatomy.atlas
    return [_site(anatomy, site) for site in atlas.sites if atlas.second_moment(site, atlas.concepts[:1]).dim() > 1]


def overlaps(whitened: Float[Tensor, "n k k"]) -> Float[Tensor, "n n"]:
    """The cosines between symmetric matrices, as ``tr(Pᵢ Pⱼ)`` has them: P is similar to its whitened form."""
    rows = torch.nn.functional.normalize(whitened.flatten(1), dim=1)
    return rows @ rows.mT


def _site(anatomy: Anatomy, site: str) -> Record:
    atlas = anatomy.atlas
    labels = [str(label) for label in range(anatomy.subject.classes)]
    spectrum = atlas.spectrum(site)
    whitened = torch.stack([spectrum.whitened(atlas.second_moment(site, [label])) for label in labels])
    values = torch.linalg.eigvalsh(whitened).clamp(0, 1).flatten(1).sort(dim=1, descending=True).values
    Q = atlas.complement(site)
    ones = torch.linalg.eigvalsh((Q + Q.mT) / 2)
    overlap = overlaps(whitened)
    different = ~torch.eye(len(labels), dtype=torch.bool, device=overlap.device)
    return {
        "site": site,
        "dimensions": Q.shape[-1] * (Q.shape[0] if Q.dim() > 2 else 1),
        "rank": spectrum.rank,
        "mu": [_thinned(one) for one in values],
        "mu_rank": _thinned(torch.arange(values.shape[1]) / max(1, values.shape[1] - 1)),
        "share": [atlas.share(site, [label]) for label in labels],
        "largest_mu": values[:, 0].tolist(),
        "overlap": overlap.tolist(),
        "overlap_mean": float(overlap[different].mean()),
        "complement_ones": int((ones > 0.5).sum()),
        "complement_rounding": float(torch.minimum(ones.abs(), (ones - 1).abs()).max()),
    }


def _thinned(values: Float[Tensor, " k"]) -> list[float]:
    places = torch.linspace(0, len(values) - 1, min(POINTS, len(values))).round().long()
    return [round(float(value), 6) for value in values.cpu()[places]]
