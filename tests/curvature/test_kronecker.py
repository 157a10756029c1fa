"""Kronecker factors: their inverse against brute force, one step against retraining; and the search of a length."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import randn, relative
from torch import Tensor

from mnemotomy.curvature.kronecker import KroneckerFactor, KroneckerFactors, Side
from mnemotomy.curvature.line_search import reach


def factor_of(inputs: Tensor, outputs: Tensor) -> KroneckerFactor:
    return KroneckerFactor(*(Side(rows.T @ rows / len(rows)) for rows in (inputs, outputs)))


@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_the_inverse_is_that_of_the_kronecker_product(damping: float):
    x, g, gradient = randn(30, 4).double(), randn(30, 3, seed=1).double(), randn(3, 4, seed=2).double()
    a, b = x.T @ x / 30, g.T @ g / 30
    damped = [m + damping * m.diagonal().mean() * torch.eye(len(m)).double() for m in (b, a)]
    dense = torch.linalg.solve(torch.kron(damped[0].contiguous(), damped[1].contiguous()), gradient.reshape(-1))
    assert relative(factor_of(x, g).solve(gradient, damping), dense.reshape(3, 4)) < 1e-10


def test_corrected_eigenvalues_stand_in_for_the_products():
    factor = factor_of(randn(30, 4), randn(30, 3, seed=1))
    product = factor.outputs.spectrum.values[:, None] * factor.inputs.spectrum.values
    corrected = KroneckerFactor(factor.inputs, factor.outputs, product)
    gradient = randn(3, 4, seed=2)
    assert relative(corrected.solve(gradient, 0.0), factor.solve(gradient, 0.0)) < 1e-4


@pytest.mark.parametrize("damping", [1e-3, 0.1])
def test_the_inverse_by_cholesky_is_the_one_by_the_spectrum(damping: float):
    factor = factor_of(randn(7, 10).double(), randn(30, 5, seed=1).double())  # A is singular
    a, g = factor.inputs.spectrum, factor.outputs.spectrum
    curvature = [side.values + damping * side.values.mean() for side in (g, a)]
    gradient = randn(5, 10, seed=2).double()
    rotated = g.vectors.T @ gradient @ a.vectors / curvature[0][:, None] / curvature[1]
    assert relative(factor.solve(gradient, damping), g.vectors @ rotated @ a.vectors.T) < 1e-9
    assert relative(factor.solve(gradient, 2 * damping), factor.solve(gradient, damping)) > 0.01


def test_directions_without_curvature_are_left_out_where_nothing_damps_them():
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    solved = factor_of(x, torch.eye(2)).solve(torch.ones(2, 2), 0.0)
    assert torch.isfinite(solved).all()
    assert torch.equal(solved[:, 1], torch.zeros(2))


def test_on_least_squares_one_step_is_retraining_without_the_forgotten():
    """With squared errors of variance σ², ``G = σ⁻² I`` and one undamped step of length 1 over the retained rows."""
    x, y = randn(60, 5).double(), randn(60, 3, seed=1).double()
    forget, retain, variance = slice(0, 7), slice(7, 60), 0.25
    full = torch.linalg.lstsq(x, y).solution.T
    retrained = torch.linalg.lstsq(x[retain], y[retain]).solution.T
    factor = KroneckerFactor(Side(x[retain].T @ x[retain] / 53), Side(torch.eye(3).double() / variance))
    factors = KroneckerFactors({"layer": factor}, rows=53)
    gradient = (full @ x[forget].T - y[forget].T) @ x[forget] / variance  # of the forgotten rows' loss
    step = factors.solve({"layer": gradient}, 0.0)["layer"] / factors.rows
    assert relative(full + step, retrained) < 1e-10
    assert relative(full, retrained) > 1e-3


def test_a_line_search_reaches_its_level():
    found = reach(lambda length: length**2, 9.0, 0.1, tolerance=0.01, evaluations=30)
    assert found.length == pytest.approx(3.0, rel=1e-3)
    assert found.value == pytest.approx(9.0, abs=0.01)
    found = reach(lambda length: length**2, 9.0, 100.0, tolerance=0.01, evaluations=30)
    assert found.length == pytest.approx(3.0, rel=1e-3)


def test_a_line_search_backs_out_of_where_nothing_is_finite():
    found = reach(lambda length: length if length < 4.0 else math.nan, 3.0, 64.0, tolerance=0.1, evaluations=30)
    assert found.value == pytest.approx(3.0, abs=0.1)


def test_a_line_search_gives_the_nearest_it_has_seen():
    assert reach(lambda length: length, 10.0, 1.0, tolerance=0.1, evaluations=2) == (2.0, 2.0)
