"""Σ_total factorised under a cut: every form of factors against a whole eigendecomposition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import FILTER_CASES, gram, randn, relative
from torch import Tensor

import mnemotomy as mt
from mnemotomy.core.errors import NonFiniteError
from mnemotomy.engram import factorise as factorise_module
from mnemotomy.engram.cut import CUT
from mnemotomy.engram.factorise import factorise
from mnemotomy.engram.spectrum import CholeskySpectrum, DeflatedSpectrum, EigenSpectrum, LivingSpectrum
from mnemotomy.engram.tridiagonal import Tridiagonal

D = 6
VALUES = torch.tensor([-1e-9, 0.0, 1e-8, 1e-4, 0.5, 2.0, 8.0])


@pytest.mark.parametrize(
    ("cut", "kept"),
    [
        (mt.RelativeCut(), 4),
        (mt.RelativeCut(0.0), 5),
        (mt.RelativeCut(0.1), 2),
        (mt.ConditionCut(1e5), 4),
        (mt.ConditionCut(10), 2),
        (mt.FloatEpsCut(), 4),
        (mt.RankCut(3), 3),
        (mt.RankCut(100), 5),
        (mt.RankCut(0.3), 2),
        (mt.EnergyCut(0.5), 1),
        (mt.EnergyCut(0.95), 2),
        (mt.EnergyCut(0.999), 3),
        (mt.EnergyCut(1.0), 5),
    ],
    ids=repr,
)
def test_cuts_keep_what_they_say(cut: Any, kept: int):
    mask = cut.keep(VALUES)
    assert mask.tolist() == [False] * (7 - kept) + [True] * kept
    assert CUT.parse(CUT.describe(cut)) == cut
    assert not cut.keep(torch.zeros(3)).any()


def with_spectrum(values: Tensor, seed: int = 0) -> Tensor:
    basis = torch.linalg.qr(randn(len(values), len(values), seed=seed).double()).Q
    return (basis * values) @ basis.T


@pytest.mark.parametrize("filter", [*FILTER_CASES, mt.Ridge(0.3)], ids=repr)
@pytest.mark.parametrize("condition", [10.0, 1e4])
def test_cholesky_and_eigendecomposition_agree(filter: Any, condition: float):
    total = with_spectrum(torch.logspace(0, torch.tensor(condition).log10(), 12).double())
    concept = 0.5 * total + 0.01 * torch.eye(12)
    concept = concept - 0.3 * with_spectrum(total.diagonal() * 0.1, seed=3)
    concept = concept @ torch.linalg.inv(total) @ concept  # positive, and not a multiple of the total
    cholesky, eigen = factorise(total, mt.RelativeCut()), EigenSpectrum.of(total, mt.RelativeCut())
    assert isinstance(cholesky, CholeskySpectrum)
    assert cholesky.rank == eigen.rank == 12
    tolerance = 1e-4 if cholesky.dtype == torch.float32 else 1e-9
    weights = [randn(3, 12).double(), randn(20, 12, seed=1).double()]
    for some in (weights[:1], weights):
        for left, right in zip(
            cholesky.project(some, concept, filter, 0.3), eigen.project(some, concept, filter, 0.3), strict=True
        ):
            assert relative(left, right) < tolerance
    torch.testing.assert_close(cholesky.mu(concept).double(), eigen.mu(concept), atol=1e-4, rtol=1e-4)
    assert cholesky.degrees_of_freedom(concept) == pytest.approx(eigen.degrees_of_freedom(concept), rel=1e-4)


@pytest.mark.parametrize("filter", [*FILTER_CASES, mt.Ridge(0.3)], ids=repr)
@pytest.mark.parametrize("rank", [4, 3], ids=["the others in full", "the others cut"])
@pytest.mark.parametrize("cut", [mt.RelativeCut(), mt.FloatEpsCut()], ids=repr)
def test_inputs_that_are_always_zero_are_left_out(cut: Any, rank: int, filter: Any):
    living = torch.tensor([0, 2, 3, 5])
    parts = [torch.zeros(D, 20).double() for _ in range(2)]
    for seed, part in enumerate(parts):
        part[living] = randn(4, rank, seed=8).double() @ randn(rank, 20, seed=seed).double()
    concept, total = gram(parts[0].T), gram(parts[0].T) + gram(parts[1].T)
    found, whole = factorise(total, cut), EigenSpectrum.of(total, cut)
    assert isinstance(found, LivingSpectrum)
    assert found.rank == whole.rank == rank
    assert relative(found.operator(concept, filter, 0.4), whole.operator(concept, filter, 0.4)) < 1e-4
    for weights in ([randn(3, D).double()], [randn(3, D).double(), randn(20, D, seed=1).double()]):
        for left, right in zip(
            found.project(weights, concept, filter, 0.4), whole.project(weights, concept, filter, 0.4), strict=True
        ):
            assert relative(left, right) < 1e-4
    root, inverse_root = found.roots()
    assert relative(root @ root.mT, total) < 1e-4
    assert relative(root @ inverse_root, found.operator(total, mt.Soft(), 1.0)) < 1e-4
    torch.testing.assert_close(found.mu(concept).double(), whole.mu(concept), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        torch.linalg.eigvalsh(found.whitened(concept)).double(), whole.mu(concept), atol=1e-4, rtol=1e-4
    )
    assert found.degrees_of_freedom(concept) == pytest.approx(whole.degrees_of_freedom(concept), rel=1e-4)


@pytest.mark.parametrize("filter", [*FILTER_CASES, mt.Ridge(0.3)], ids=repr)
@pytest.mark.parametrize("cut", [mt.RelativeCut(1e-4), mt.RankCut(70), mt.RankCut(20), mt.EnergyCut(0.9)], ids=repr)
def test_eigenvectors_on_one_side_of_the_cut_suffice(cut: Any, filter: Any):
    total = with_spectrum(torch.logspace(0, -6, 80).double())
    rows = torch.linalg.cholesky(total) @ torch.linalg.qr(randn(80, 80, seed=2).double()).Q
    concept = rows[:, :30] @ rows[:, :30].T
    found, whole = factorise(total, cut), EigenSpectrum.of(total, cut)
    assert isinstance(found, DeflatedSpectrum if whole.rank > 40 else EigenSpectrum)
    assert found.rank == whole.rank
    assert found.mu(concept).shape == whole.mu(concept).shape
    torch.testing.assert_close(found.mu(concept), whole.mu(concept), atol=1e-8, rtol=0)
    assert found.degrees_of_freedom(concept) == pytest.approx(whole.degrees_of_freedom(concept))
    root, inverse_root = found.roots()
    assert relative(root @ root.mT, whole.vectors * whole.values @ whole.vectors.mT) < 1e-8
    assert relative(root @ inverse_root, whole.vectors @ whole.vectors.mT) < 1e-8
    for weights in ([randn(3, 80).double()], [randn(90, 80, seed=1).double()]):
        for left, right in zip(
            found.project(weights, concept, filter, 0.4), whole.project(weights, concept, filter, 0.4), strict=True
        ):
            assert relative(left, right) < 1e-8


def test_a_weight_that_ignores_what_the_operator_is_largest_on_loses_no_digits():
    d = 12
    loud = torch.linalg.qr(randn(d, 1, seed=5).double()).Q
    rows = randn(d, 40, seed=1).double()
    rows += 1e4 * loud @ randn(1, 40, seed=2).double()
    concept, total = rows[:, :15] @ rows[:, :15].T, rows @ rows.T
    weight = randn(20, d, seed=3).double()
    weight = (weight - weight @ loud @ loud.T).float()
    spectrum = factorise(total, mt.RelativeCut(1e-10))
    (found,) = spectrum.project([weight], concept, mt.Soft(), 0.4)
    (exact,) = spectrum.project([weight.double()], concept, mt.Soft(), 0.4)
    assert relative(weight @ spectrum.operator(concept, mt.Soft(), 0.4).float(), exact) > 1e-5
    assert relative(found, exact) < 1e-6
    (usual,) = spectrum.project([randn(20, d, seed=3)], concept, mt.Soft(), 0.4)
    assert usual.dtype == torch.float32


@pytest.mark.parametrize("d", [2, 3, 80, 300])
def test_a_matrix_is_taken_apart_by_some_of_its_eigenvectors(d: int):
    matrix = with_spectrum(torch.logspace(0, -6, d).double())
    expected = torch.linalg.eigvalsh(matrix)
    before, whole = matrix.clone(), Tridiagonal(matrix)
    assert torch.equal(matrix, before)
    torch.testing.assert_close(whole.values, expected, atol=1e-14, rtol=0)
    for start, stop in ((0, 1), (d // 2, d), (0, d), (1, 1)):
        vectors = whole.vectors(start, stop)
        assert vectors.shape == (d, stop - start)
        torch.testing.assert_close(matrix @ vectors, vectors * expected[start:stop], atol=1e-13, rtol=0)
        torch.testing.assert_close(vectors.T @ vectors, torch.eye(stop - start).double(), atol=1e-11, rtol=0)


def test_a_total_that_lapack_cannot_take_apart_is_left_to_torch(monkeypatch: pytest.MonkeyPatch):
    def fail(matrix: Tensor) -> None:
        raise np.linalg.LinAlgError("no convergence")

    total = with_spectrum(torch.logspace(0, -6, 80).double())
    expected = factorise(total, mt.RelativeCut(1e-4))
    monkeypatch.setattr(factorise_module, "Tridiagonal", fail)
    found = factorise(total, mt.RelativeCut(1e-4))
    assert isinstance(found, EigenSpectrum)
    assert found.rank == expected.rank


@pytest.mark.parametrize("shape", [(80,), (80, 80), (2, 3, 3)])
@pytest.mark.parametrize("cut", [mt.RelativeCut(), mt.RankCut(2)], ids=repr)
def test_a_total_that_is_not_finite_is_refused(shape: tuple[int, ...], cut: Any):
    with pytest.raises(NonFiniteError, match="collect them again"):
        factorise(torch.full(shape, torch.nan), cut)


def test_a_rank_is_of_all_inputs():
    total = torch.diag(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    assert factorise(total, mt.RankCut(0.5)).rank == 2


@pytest.mark.parametrize("smallest", [1e-3, 2e-6, 1.9e-6, 1.1e-6, 0.9e-6, 1e-9])
def test_the_cut_does_not_follow_the_precision(smallest: float):
    values = torch.cat([torch.tensor([smallest]), torch.linspace(0.1, 1, 9)]).double()
    total = with_spectrum(values)
    expected = 10 if smallest > 1e-6 else 9
    for precision in (None, torch.float64):
        assert factorise(total, mt.RelativeCut(), precision).rank == expected
        assert factorise(total.float(), mt.RelativeCut(1e-4), precision).rank == (10 if smallest > 1e-4 else 9)


def test_the_cut_is_right_where_the_leading_direction_is_orthogonal_to_all_ones():
    """A power iteration that began with the row sums would see λ = 0.1 here instead of 1.9."""
    total = torch.tensor([[1.0, -0.9], [-0.9, 1.0]])
    assert factorise(total, mt.RelativeCut(0.04)).rank == 2
    assert factorise(total, mt.RelativeCut(0.06)).rank == 1


def test_a_total_of_zero_has_no_directions():
    spectrum = factorise(torch.zeros(3, 3), mt.RelativeCut())
    assert spectrum.rank == 0
    assert torch.equal(
        spectrum.project([torch.ones(2, 3)], torch.zeros(3, 3), mt.Soft(), 0.5)[0].float(), torch.zeros(2, 3)
    )
