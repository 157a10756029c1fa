"""The Fisher matrix of a layer as a Kronecker product: its factors, and their inverse on both sides of a gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.core.errors import ConfigurationError, NonFiniteError


class Eigenbasis(NamedTuple):
    """The eigenvalues of a second moment, ascending and none below 0, and its eigenvectors as columns."""

    values: Float[Tensor, " d"]
    vectors: Float[Tensor, "d d"]


class Side:
    """One of the two factors: a symmetric second moment, factorised in float64 and kept in its own dtype.

    Raises:
        NonFiniteError: the matrix is not finite.
    """

    def __init__(self, moment: Float[Tensor, "d d"]) -> None:
        if not bool(torch.isfinite(moment).all()):
            raise NonFiniteError("a second moment is not finite: the model overflows; try float32 or bfloat16 weights")
        self.moment = moment
        self._inverse: tuple[float, Float[Tensor, "d d"] | None] | None = None

    @cached_property
    def spectrum(self) -> Eigenbasis:
        """The eigendecomposition of the moment."""
        values, vectors = torch.linalg.eigh(self.moment.double())
        return Eigenbasis(values.clamp_min(0.0).to(self.moment), vectors.to(self.moment))

    def inverse(self, damping: float) -> Float[Tensor, "d d"] | None:
        """``(M + δ m̄ I)⁻¹`` with m̄ the mean eigenvalue, by Cholesky: a ninth of the work of a spectrum.

        None if directions without curvature are not damped. The last inverse is kept.
        """
        if self._inverse is None or self._inverse[0] != damping:
            damped = self.moment.double()
            damped = damped + damping * damped.diagonal().mean() * torch.eye(len(damped)).to(damped)
            triangle, failed = torch.linalg.cholesky_ex(damped)
            singular = damping == 0.0 or bool(failed)
            self._inverse = damping, None if singular else torch.cholesky_inverse(triangle).to(self.moment)
        return self._inverse[1]


@dataclass(frozen=True)
class KroneckerFactor:
    """A layer's Fisher matrix ``F ≈ A ⊗ G`` per row (Eq. 9 of arXiv 2606.14997; Martens & Grosse 2015).

    Attributes:
        inputs: A, the second moment of the layer's inputs, extended by 1 if it has a bias.
        outputs: G, the second moment of the loss' gradient at its outputs.
        corrected: the second moment of the gradient itself along each pair of eigenvectors (George et al. 2018,
            EKFAC), which replaces the products of eigenvalues; None for K-FAC.
    """

    inputs: Side
    outputs: Side
    corrected: Float[Tensor, "out d"] | None = None

    def solve(self, gradient: Float[Tensor, "out d"], damping: float) -> Float[Tensor, "out d"]:
        """``(G + δ ḡ I)⁻¹ ∇L (A + δ ā I)⁻¹``, with ā and ḡ the mean eigenvalues.

        With ``corrected``, its mean times δ is added to each of its entries instead. Directions that have neither
        curvature nor damping are left out: the inverse is then the pseudoinverse.

        Args:
            damping: δ, at least 0.
        """
        gradient = gradient.to(self.inputs.moment)
        if self.corrected is None:
            left, right = self.outputs.inverse(damping), self.inputs.inverse(damping)
            if left is not None and right is not None:
                return left @ gradient @ right
        a, g = self.inputs.spectrum, self.outputs.spectrum
        if self.corrected is None:
            curvature = _damped(g.values, damping)[:, None] * _damped(a.values, damping)
        else:
            curvature = _damped(self.corrected, damping)
        rotated = g.vectors.T @ gradient @ a.vectors
        return g.vectors @ torch.where(curvature > 0.0, rotated / curvature, 0.0) @ a.vectors.T


@dataclass(frozen=True)
class KroneckerFactors:
    """The factors of several layers, from the same rows.

    Attributes:
        sites: the factor of each site.
        rows: the number of rows they are means over; their Fisher matrix is ``rows · A ⊗ G``.
    """

    sites: Mapping[str, KroneckerFactor]
    rows: int

    def solve(self, gradients: Mapping[str, Tensor], damping: float) -> dict[str, Tensor]:
        """``KroneckerFactor.solve`` for each site."""
        return {name: self.sites[name].solve(gradient, damping) for name, gradient in gradients.items()}


def check_damping(damping: float) -> None:
    """Refuse a negative damping.

    Raises:
        ConfigurationError: it is below 0 or NaN.
    """
    if not damping >= 0.0:
        raise ConfigurationError(f"damping is at least 0, not {damping}")


def _damped(values: Tensor, damping: float) -> Tensor:
    return values + damping * values.mean()
