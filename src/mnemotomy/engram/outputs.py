"""The output side of a site: how much of each output direction belongs to a concept.

``P = Σ⁺ (Σ⁺ + Σ⁻)†`` weighs input directions. The outputs ``Z = W X`` have second moments ``Γ = W Σ Wᵀ``, which need no
extra pass, and ``P_out = Γ⁺ (Γ⁺ + Γ⁻)†`` weighs output directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.engram.products import full_precision
from mnemotomy.engram.spectrum import Spectrum


@dataclass(frozen=True)
class WeightBasis:
    """A weight in a basis of its output directions, ``W = U R``, if they are fewer than the outputs.

    The output layer over a vocabulary writes in as many directions as it reads, not in as many as there are tokens:
    ``Γ = U (R Σ Rᵀ) Uᵀ`` has the eigenvalues of ``R Σ Rᵀ``, which is no larger than Σ.

    Attributes:
        basis: U in float64; None for the identity.
        weight: R in float64.
    """

    basis: Float[Tensor, "*groups out r"] | None
    weight: Float[Tensor, "*groups r d"]

    @classmethod
    def by(cls, weight: Float[Tensor, "*groups out d"]) -> WeightBasis:
        """The basis of ``weight``."""
        weight = weight.double()
        return cls(*torch.linalg.qr(weight)) if weight.shape[-2] > weight.shape[-1] else cls(None, weight)

    def moment(self, inputs: Tensor) -> Float[Tensor, "*groups r r"]:
        """Γ in the basis, in float64, from Σ of the inputs, which may be a diagonal ``[d]``."""
        inputs = inputs.double()
        with full_precision():
            found = (self.weight * inputs if inputs.dim() == 1 else self.weight @ inputs) @ self.weight.mT
        return (found + found.mT) / 2

    def operator(self, concept: Tensor, spectrum: Spectrum) -> Float[Tensor, "*groups out out"]:
        """The whole ``P_out``: as many rows and columns as there are outputs.

        Args:
            concept: Σ⁺ of the inputs.
            spectrum: of Γ_total in the basis.
        """
        with full_precision():
            found = self._operator(concept, spectrum)
            return found if self.basis is None else self.basis @ found @ self.basis.mT

    def project(
        self, delta: Float[Tensor, "*groups out d"], concept: Tensor, spectrum: Spectrum
    ) -> Float[Tensor, "*groups out d"]:
        """``P_out delta``, without ``P_out`` itself if outputs are many. Arguments as for ``operator``."""
        with full_precision():
            found = self._operator(concept, spectrum)
            if self.basis is None:
                return found @ delta.double()
            return self.basis @ (found @ (self.basis.mT @ delta.double()))

    def _operator(self, concept: Tensor, spectrum: Spectrum) -> Float[Tensor, "*groups r r"]:
        return spectrum.times_inverse(self.moment(concept).to(spectrum.dtype), 0.0).double()
