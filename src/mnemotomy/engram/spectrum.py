"""One factorisation of Σ_total, and everything that engrams need from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.engram.cut import Cut
from mnemotomy.engram.filters import Filter, Linear, Soft


@dataclass(frozen=True)
class Spectrum:
    """The kept eigenpairs of Σ_total, ``U [*groups, d, k]`` and ``λ [*groups, k]``; ``λ = 0`` marks a cut direction.

    For one-hot inputs Σ is diagonal: ``U`` is then left out, and ``λ [d]`` are the token counts.
    """

    vectors: Tensor | None
    values: Tensor

    @classmethod
    def of(cls, total: Tensor, cut: Cut, precision: torch.dtype) -> Spectrum:
        """Factorise ``total``, ``[*groups, d, d]`` or a diagonal ``[d]``, in ``precision``; the cut does not follow it."""
        total = total.to(precision)
        if total.dim() == 1:
            order = total.argsort()
            kept = torch.empty_like(total, dtype=torch.bool)
            kept[order] = cut.keep(total[order])
            return cls(None, torch.where(kept, total, 0))
        values, vectors = _eigh(total)
        kept = cut.keep(values)
        rank = int(kept.sum(-1).max())
        values = torch.where(kept, values, 0)[..., values.shape[-1] - rank :]
        return cls(vectors[..., vectors.shape[-1] - rank :], values)

    @property
    def rank(self) -> int:
        """How many directions are kept, over all groups."""
        return int((self.values > 0).sum())

    def operator(self, concept: Tensor, filter: Filter, share: float) -> Tensor:
        """``P`` of shape ``[*groups, d, d]`` (or its diagonal) with ``W⁺ = W P``.

        For a linear filter ``P = Σ⁺ U D Uᵀ`` (Eq. 4, 31). For any other function f of μ,
        ``P = U Λ^½ f(M) Λ^-½ Uᵀ`` with ``M = Λ^-½ Uᵀ Σ⁺ U Λ^-½``, whose eigenvalues are the μ.

        Args:
            concept: Σ⁺, of the shape that was factorised.
            filter: f or D.
            share: ``n⁺/N``, for filters that need it.
        """
        concept = concept.to(self.values.dtype)
        if self.vectors is None:
            return self._diagonal_operator(concept, filter, share)
        if isinstance(filter, Linear):
            return concept @ self._inverse(filter)
        mu, basis = _eigh(self.whitened(concept))
        kept = (basis * filter.response(mu.clamp(0, 1), share)[..., None, :]) @ basis.mT
        root, inverse_root = self._roots
        return (self.vectors * root[..., None, :]) @ kept @ (self.vectors * inverse_root[..., None, :]).mT

    def project(self, weights: Sequence[Tensor], concept: Tensor, filter: Filter, share: float) -> list[Tensor]:
        """``W⁺ = W P`` of every weight ``[*groups, out, d]`` that reads this input, in the cheaper order of products."""
        weights = [weight.to(self.values.dtype) for weight in weights]
        rows = sum(weight.shape[-2] for weight in weights)
        if self.vectors is not None and isinstance(filter, Linear) and rows <= concept.shape[-1]:
            concept, inverse = concept.to(self.values.dtype), self._inverse(filter)
            return [(weight @ concept) @ inverse for weight in weights]
        operator = self.operator(concept, filter, share)
        return [weight * operator if self.vectors is None else weight @ operator for weight in weights]

    def mu(self, concept: Tensor) -> Float[Tensor, "*groups k"]:
        """The share of each kept direction that belongs to the concept, ascending, in [0, 1]."""
        if self.vectors is None:
            return (concept.to(self.values.dtype) * _reciprocal(self.values)).clamp(0, 1).sort().values
        return torch.linalg.eigvalsh(self.whitened(concept)).clamp(0, 1)

    def whitened(self, concept: Tensor) -> Float[Tensor, "*groups k k"]:
        """``M = Λ^-½ Uᵀ Σ⁺ U Λ^-½``, symmetric, similar to P on the kept directions."""
        assert self.vectors is not None
        scaled = self.vectors * self._roots[1][..., None, :]
        whitened = scaled.mT @ concept.to(self.values.dtype) @ scaled
        return (whitened + whitened.mT) / 2

    def degrees_of_freedom(self, concept: Tensor) -> float:
        """``tr P = Σ μ``: how many directions belong to the concept, counted by share."""
        concept = concept.to(self.values.dtype)
        if self.vectors is None:
            return float((concept * _reciprocal(self.values)).sum())
        scaled = self.vectors * self._roots[1][..., None, :]
        return float((scaled * (concept @ scaled)).sum())

    @cached_property
    def _roots(self) -> tuple[Tensor, Tensor]:
        root = self.values.sqrt()
        return root, _reciprocal(root)

    @cached_property
    def pseudoinverse(self) -> Float[Tensor, "*groups d d"]:
        """``Σ_total†`` over the kept directions; built once, for it serves every concept."""
        assert self.vectors is not None
        return (self.vectors * _reciprocal(self.values)[..., None, :]) @ self.vectors.mT

    def _inverse(self, filter: Linear) -> Tensor:
        assert self.vectors is not None
        if isinstance(filter, Soft):
            return self.pseudoinverse
        inverse = torch.where(self.values > 0, filter.inverse(self.values), 0)
        return (self.vectors * inverse[..., None, :]) @ self.vectors.mT

    def _diagonal_operator(self, concept: Tensor, filter: Filter, share: float) -> Tensor:
        if isinstance(filter, Linear):
            return torch.where(self.values > 0, concept * filter.inverse(self.values), 0)
        return filter.response((concept * _reciprocal(self.values)).clamp(0, 1), share)


def _reciprocal(values: Tensor) -> Tensor:
    return torch.where(values > 0, 1.0 / values, 0)


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues ascending and eigenvectors; float64 where float32's solver does not converge."""
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch._C._LinAlgError:
        values, vectors = torch.linalg.eigh(matrix.double())
    return values.to(matrix.dtype), vectors.to(matrix.dtype)
