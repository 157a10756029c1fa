"""The Fisher matrix of a layer as a Kronecker product: its factors, and their inverse on both sides of a gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.errors import ConfigurationError, NonFiniteError


@dataclass(frozen=True)
class Spectrum:
    """A second moment by its eigenvalues, none below 0, and its eigenvectors as columns.

    Attributes:
        values: ascending.
        vectors: one column for each.
    """

    values: Float[Tensor, " d"]
    vectors: Float[Tensor, "d d"]

    @classmethod
    def of(cls, moment: Float[Tensor, "d d"]) -> Spectrum:
        """The spectrum of a symmetric matrix, factorised in float64 and kept in its own dtype.

        Raises:
            NonFiniteError: the matrix is not finite.
        """
        if not bool(torch.isfinite(moment).all()):
            raise NonFiniteError("a second moment is not finite: the model overflows; try float32 or bfloat16 weights")
        values, vectors = torch.linalg.eigh(moment.double())
        return cls(values.clamp_min(0.0).to(moment.dtype), vectors.to(moment.dtype))


@dataclass(frozen=True)
class KroneckerFactor:
    """A layer's Fisher matrix ``F ≈ A ⊗ G`` per row (Eq. 9 of arXiv 2606.14997; Martens & Grosse 2015).

    Attributes:
        inputs: of A, the second moment of what the layer reads, extended by 1 where it has a bias.
        outputs: of G, the second moment of the loss' gradient at what it gives.
        corrected: the second moment of the gradient itself along each pair of eigenvectors (George et al. 2018,
            EKFAC), in place of the products of eigenvalues; None for K-FAC.
    """

    inputs: Spectrum
    outputs: Spectrum
    corrected: Float[Tensor, "out d"] | None = None

    def solve(self, gradient: Float[Tensor, "out d"], damping: float) -> Float[Tensor, "out d"]:
        """``(G + δ ḡ I)⁻¹ ∇L (A + δ ā I)⁻¹``, with ā and ḡ the mean eigenvalues.

        With ``corrected``, its mean times δ is added to each of its numbers instead. Directions without any curvature
        are left out where nothing damps them: the inverse is then the pseudo-inverse.

        Args:
            gradient: of the canonical weight.
            damping: δ, at least 0.
        """
        a, g = self.inputs, self.outputs
        if self.corrected is None:
            curvature = _damped(g.values, damping)[:, None] * _damped(a.values, damping)
        else:
            curvature = _damped(self.corrected, damping)
        rotated = g.vectors.T @ gradient.to(curvature) @ a.vectors
        return g.vectors @ torch.where(curvature > 0.0, rotated / curvature, 0.0) @ a.vectors.T


@dataclass(frozen=True)
class KroneckerFactors:
    """The factors of several layers, from the same rows.

    Attributes:
        sites: the factor of each site.
        rows: how many rows they are means over; the Fisher matrix of all of them is ``rows · A ⊗ G``.
    """

    sites: Mapping[str, KroneckerFactor]
    rows: int

    def solve(self, gradients: Mapping[str, Tensor], damping: float) -> dict[str, Tensor]:
        """``KroneckerFactor.solve`` for each site."""
        return {name: self.sites[name].solve(gradient, damping) for name, gradient in gradients.items()}


def check_damping(damping: float) -> None:
    """Refuse a negative damping.

    Raises:
        ConfigurationError: it is below 0, or no number.
    """
    if not damping >= 0.0:
        raise ConfigurationError(f"damping is at least 0, not {damping}")


def _damped(values: Tensor, damping: float) -> Tensor:
    return values + damping * values.mean()
