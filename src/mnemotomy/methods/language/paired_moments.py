"""What two models read at the same place for the same tokens, as one cross-moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.engram.sites import Reading, Site
from mnemotomy.text.encoding import IGNORED

Inputs = Callable[[int], Float[Tensor, "*rows d"]]
"""Of a batch by its number: what a site reads."""


class PairedMoment(NamedTuple):
    """Sums over tokens in float64, of rows extended by 1.

    Attributes:
        second: ``XᵀX`` of the site's own input.
        cross: ``X*ᵀX`` with the other model's input X*.
    """

    second: Float[Tensor, "d d"]
    cross: Float[Tensor, "d d"]

    def of(self, site: Site) -> PairedMoment:
        """Without the extension where the site has no bias."""
        return self if site.has_bias else PairedMoment(self.second[:-1, :-1], self.cross[:-1, :-1])


def paired_moment(own: Inputs, other: Inputs | None, labels: Sequence[Tensor]) -> PairedMoment:
    """Sum over the tokens that have a label.

    Args:
        own: X.
        other: X*; X itself where there is none.
        labels: ``[batch, length]`` of each batch.
    """
    second, cross = torch.zeros(()), torch.zeros(())
    for index, marked in enumerate(labels):
        counted = marked != IGNORED
        rows = _extended(own(index), counted)
        gram = rows.mT @ rows
        second = second + gram.double()
        cross = cross + (gram if other is None else _extended(other(index), counted).mT @ rows).double()
    return PairedMoment(second, cross)


def input_of(site: Site, run: Callable[[], Any]) -> Float[Tensor, "*rows d"]:
    """What ``site`` reads while ``run`` runs its model."""
    seen: list[Reading] = []
    handles = site.attach(lambda name, reading: seen.append(reading))
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return seen[0].layout.rows(seen[0].tensor)


def _extended(states: Float[Tensor, "*rows d"], counted: Tensor) -> Float[Tensor, "n d1"]:
    rows = states.flatten(0, -2)[counted.flatten().to(states.device)].float()  # OPT's blocks flatten them themselves
    return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
