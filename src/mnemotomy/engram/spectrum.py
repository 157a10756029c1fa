"""Σ_total as factors, ``Σ_total = S Sᵀ`` on the directions that the cut keeps, and what engrams need from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mnemotomy.core.errors import NonFiniteError
from mnemotomy.engram.cut import Cut
from mnemotomy.engram.filters import Filter, Linear

SMALLEST = 2.0**-20
"""A smaller μ counts as 0: float32 sums cannot tell it from 0, and a filter may amplify it."""

CANCELLED = 4.0
"""The most that may cancel in a product in float32: a factor of 4 leaves errors of 3e-7."""


class Spectrum(ABC):
    """A factorised Σ_total of shape ``[*groups, d, d]``."""

    dtype: torch.dtype

    @property
    @abstractmethod
    def rank(self) -> int:
        """How many directions are kept, over all groups."""

    @abstractmethod
    def times_inverse(self, matrix: Float[Tensor, "*groups out d"], damping: float) -> Float[Tensor, "*groups out d"]:
        """``matrix (Σ_total + damping · I)†``."""

    @abstractmethod
    def roots(self) -> tuple[Float[Tensor, "*groups d k"], Float[Tensor, "*groups k d"]]:
        """``S`` and ``S†`` with ``Σ_total = S Sᵀ``."""

    def operator(self, concept: Float[Tensor, "*groups d d"], filter: Filter, share: float) -> Tensor:
        """``P`` with ``W⁺ = W P``.

        For a linear filter ``P = Σ⁺ (Σ_total + λI)†`` (Eq. 4, 31). For any other function f of μ, ``P = S f(M) S†``
        with ``M = S† Σ⁺ S†ᵀ``, which is symmetric, similar to ``Σ⁺ Σ_total†``, and has the μ as its eigenvalues.

        Args:
            concept: Σ⁺, of the shape that was factorised.
            filter: f or λ.
            share: ``n⁺/N``, for filters that need it.
        """
        if isinstance(filter, Linear):
            return self.times_inverse(concept.to(self.dtype), filter.damping)
        mu, basis = torch.linalg.eigh(self.whitened(concept))
        mu = torch.where(mu < SMALLEST, 0.0, mu).clamp(0, 1)  # f(0) = 0, but f of a rounding error may be 1
        kept = (basis * filter.response(mu, share)[..., None, :]) @ basis.mT
        root, inverse_root = self.roots()
        return root @ kept @ inverse_root

    def project(self, weights: Sequence[Tensor], concept: Tensor, filter: Filter, share: float) -> list[Tensor]:
        """``W⁺ = W P`` of every weight ``[*groups, out, d]`` that reads this input, in the cheaper order."""
        rows = sum(weight.shape[-2] for weight in weights)
        if isinstance(filter, Linear) and rows <= concept.shape[-1]:
            concept = concept.to(self.dtype)
            return [self.times_inverse(weight.to(self.dtype) @ concept, filter.damping) for weight in weights]
        operator = self.operator(concept, filter, share)
        return [_product(weight, operator) for weight in weights]

    def mu(self, concept: Tensor) -> Float[Tensor, "*groups k"]:
        """The share of each kept direction that belongs to the concept, ascending, in [0, 1]."""
        return torch.linalg.eigvalsh(self.whitened(concept)).clamp(0, 1)

    def whitened(self, concept: Tensor) -> Float[Tensor, "*groups k k"]:
        """``M = S† Σ⁺ S†ᵀ``."""
        _, inverse_root = self.roots()
        whitened = inverse_root @ concept.to(self.dtype) @ inverse_root.mT
        return (whitened + whitened.mT) / 2

    def degrees_of_freedom(self, concept: Tensor) -> float:
        """``tr P = Σ μ``: how many directions belong to the concept, counted by share."""
        _, inverse_root = self.roots()
        return float(((inverse_root @ concept.to(self.dtype)) * inverse_root).sum())


class EigenSpectrum(Spectrum):
    """``Σ_total = U Λ Uᵀ`` on the kept directions; ``λ = 0`` marks what one group cuts and another keeps."""

    def __init__(self, values: Float[Tensor, "*groups k"], vectors: Float[Tensor, "*groups d k"]) -> None:
        self.dtype = values.dtype
        self.values = values
        self.vectors = vectors

    @classmethod
    def of(cls, total: Float[Tensor, "*groups d d"], cut: Cut) -> EigenSpectrum:
        """From an eigendecomposition."""
        values, vectors = torch.linalg.eigh(total)
        kept = cut.keep(values)
        rank = int(kept.sum(-1).max())
        first = values.shape[-1] - rank
        return cls(torch.where(kept, values, 0)[..., first:], vectors[..., first:])

    @property
    def rank(self) -> int:
        return int((self.values > 0).sum())

    def times_inverse(self, matrix: Tensor, damping: float) -> Tensor:
        if damping == 0.0 and 2 * self.vectors.shape[-1] > self.vectors.shape[-2]:
            return matrix @ self._pseudoinverse
        return (matrix @ self.vectors) * _reciprocal(self.values, damping)[..., None, :] @ self.vectors.mT

    def roots(self) -> tuple[Tensor, Tensor]:
        root = self.values.sqrt()
        return self.vectors * root[..., None, :], (self.vectors * _reciprocal(root)[..., None, :]).mT

    @cached_property
    def _pseudoinverse(self) -> Float[Tensor, "*groups d d"]:
        """Built once for all concepts."""
        return (self.vectors * _reciprocal(self.values)[..., None, :]) @ self.vectors.mT


class CholeskySpectrum(Spectrum):
    """``Σ_total = L Lᵀ``, of full rank under the cut."""

    def __init__(self, factor: Float[Tensor, "d d"]) -> None:
        self.dtype = factor.dtype
        self.factor = factor

    @property
    def rank(self) -> int:
        return self.factor.shape[-1]

    def times_inverse(self, matrix: Tensor, damping: float) -> Tensor:
        factor = self.factor
        if damping != 0.0:
            damped = factor @ factor.mT + damping * torch.eye(len(factor)).to(factor)
            factor, failed = torch.linalg.cholesky_ex(damped)
            if failed:
                raise NonFiniteError(f"a damping of {damping:g} is too large for {self.dtype}; choose a smaller one")
        return torch.cholesky_solve(matrix.mT, factor).mT

    def roots(self) -> tuple[Tensor, Tensor]:
        identity = torch.eye(len(self.factor)).to(self.factor)
        return self.factor, torch.linalg.solve_triangular(self.factor, identity, upper=False)


class DeflatedSpectrum(CholeskySpectrum):
    """Σ_total with few directions below the cut, ``C``.

    ``Σ' = Σ_total + C (λ I − Λ) Cᵀ`` has the kept eigenvalues and λ in place of the others, so that ``Σ' = L Lᵀ``, and
    with ``Q = I − C Cᵀ``, which commutes with it, ``Σ_total† = Q Σ'⁻¹``.

    Args:
        total: Σ_total in float64.
        values: of the directions below the cut, Λ.
        cut: these directions, ``C``.
        smallest: the smallest kept eigenvalue, λ.
    """

    def __init__(
        self, total: Float[Tensor, "d d"], values: Float[Tensor, " c"], cut: Float[Tensor, "d c"], smallest: float
    ) -> None:
        super().__init__(torch.linalg.cholesky(total + (cut * (smallest - values)) @ cut.mT))
        self.cut = cut

    @property
    def rank(self) -> int:
        return super().rank - self.cut.shape[-1]

    def times_inverse(self, matrix: Tensor, damping: float) -> Tensor:
        return super().times_inverse(self._kept(matrix), damping)

    def roots(self) -> tuple[Tensor, Tensor]:
        """``Q L`` and ``L⁻¹ Q``, ``[d, d]``: μ = 0 for each direction below the cut."""
        root, inverse_root = super().roots()
        return self._kept(root.mT).mT, self._kept(inverse_root)

    def mu(self, concept: Tensor) -> Tensor:
        return super().mu(concept)[self.cut.shape[-1] :]

    def _kept(self, matrix: Float[Tensor, "rows d"]) -> Float[Tensor, "rows d"]:
        return matrix - (matrix @ self.cut) @ self.cut.mT


class LivingSpectrum(Spectrum):
    """Σ_total of the inputs that are not zero in every row: image margins and dead units are left out."""

    def __init__(self, inner: Spectrum, living: Int[Tensor, " k"], width: int) -> None:
        self.dtype = inner.dtype
        self.inner, self.living, self.width = inner, living, width

    @property
    def rank(self) -> int:
        return self.inner.rank

    def times_inverse(self, matrix: Tensor, damping: float) -> Tensor:
        return self._columns(self.inner.times_inverse(matrix[..., self.living], damping))

    def roots(self) -> tuple[Tensor, Tensor]:
        root, inverse_root = self.inner.roots()
        return self._columns(root.mT).mT, self._columns(inverse_root)

    def operator(self, concept: Tensor, filter: Filter, share: float) -> Tensor:
        found = self.inner.operator(self._of(concept), filter, share)
        return self._columns(self._columns(found).mT).mT

    def project(self, weights: Sequence[Tensor], concept: Tensor, filter: Filter, share: float) -> list[Tensor]:
        read = [weight[:, self.living] for weight in weights]
        return [self._columns(found) for found in self.inner.project(read, self._of(concept), filter, share)]

    def mu(self, concept: Tensor) -> Tensor:
        return self.inner.mu(self._of(concept))

    def whitened(self, concept: Tensor) -> Tensor:
        return self.inner.whitened(self._of(concept))

    def degrees_of_freedom(self, concept: Tensor) -> float:
        return self.inner.degrees_of_freedom(self._of(concept))

    def _of(self, concept: Float[Tensor, "d d"]) -> Float[Tensor, "k k"]:
        return concept.index_select(0, self.living).index_select(1, self.living)

    def _columns(self, matrix: Float[Tensor, "rows k"]) -> Float[Tensor, "rows d"]:
        return matrix.new_zeros(*matrix.shape[:-1], self.width).index_copy_(-1, self.living, matrix)


class DiagonalSpectrum(Spectrum):
    """One-hot inputs: Σ_total ``[d]`` are counts, and every operator is a diagonal too."""

    def __init__(self, total: Float[Tensor, " d"], cut: Cut) -> None:
        self.dtype = total.dtype
        order = total.argsort()
        kept = torch.empty_like(total, dtype=torch.bool)
        kept[order] = cut.keep(total[order])
        self.values = torch.where(kept, total, 0)

    @property
    def rank(self) -> int:
        return int((self.values > 0).sum())

    def times_inverse(self, matrix: Tensor, damping: float) -> Tensor:
        return matrix * _reciprocal(self.values, damping)

    def roots(self) -> tuple[Tensor, Tensor]:
        root = self.values.sqrt()
        return root, _reciprocal(root)

    def operator(self, concept: Tensor, filter: Filter, share: float) -> Tensor:
        if isinstance(filter, Linear):
            return self.times_inverse(concept.to(self.dtype), filter.damping)
        return filter.response((concept.to(self.dtype) * _reciprocal(self.values)).clamp(0, 1), share)

    def project(self, weights: Sequence[Tensor], concept: Tensor, filter: Filter, share: float) -> list[Tensor]:
        operator = self.operator(concept, filter, share)
        return [weight.to(self.dtype) * operator for weight in weights]

    def mu(self, concept: Tensor) -> Tensor:
        return (concept.to(self.dtype) * _reciprocal(self.values)).clamp(0, 1).sort().values

    def degrees_of_freedom(self, concept: Tensor) -> float:
        return float((concept.to(self.dtype) * _reciprocal(self.values)).sum())


def _product(weight: Float[Tensor, "*groups out d"], operator: Float[Tensor, "*groups d d"]) -> Tensor:
    """``W P``: in the precision of ``W`` if its rounding is small beside the product, else in that of ``P``.

    The factors of P needed float64, P itself hardly ever does. Over d terms, errors of ``ε |W| |P|`` add up to about
    ``ε ‖W‖ ‖P‖ / √d``, which is large beside ``‖W P‖`` only if W ignores what P is largest on.
    """
    if weight.dtype != operator.dtype:
        found = weight @ operator.to(weight.dtype)
        largest = weight.norm() * operator.norm() / operator.shape[-1] ** 0.5
        if bool(largest <= CANCELLED * found.norm()):
            return found
    return weight.to(operator.dtype) @ operator


def _reciprocal(values: Tensor, damping: float = 0.0) -> Tensor:
    return torch.where(values > 0, 1.0 / (values + damping), 0)


def effective_rank(moment: Tensor) -> float:
    """``exp`` of the entropy of the normalised eigenvalues of Σ (Roy & Vetterli 2007); groups are averaged."""
    eigenvalues = moment[None] if moment.dim() == 1 else torch.linalg.eigvalsh(moment)
    eigenvalues = eigenvalues.double().clamp_min(0).reshape(-1, eigenvalues.shape[-1])
    shares = eigenvalues / eigenvalues.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    entropy = -torch.special.xlogy(shares, shares).sum(-1)
    return float(entropy.exp().mean()) if bool((eigenvalues > 0).any()) else 0.0
