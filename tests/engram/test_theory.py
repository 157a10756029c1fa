"""The closed form against brute force: minimisers, projectors, the Fisher metric, filters and cuts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import FILTER_CASES, QUIET, gram, randn, relative
from torch import Tensor, nn

import mnemotomy as mt
from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.engram.factorise import factorise
from mnemotomy.engram.filters import FILTER, FILTERS
from mnemotomy.engram.spectrum import EigenSpectrum

D, OUT = 6, 4


def problem(plus: int = 20, minus: int = 30, rank: int = D, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """``W [out, d]`` and the columns ``X⁺``, ``X⁻`` of a ``rank``-dimensional space, in float64."""
    basis = randn(D, rank, seed=seed + 9).double()
    scale = torch.linspace(0.5, 2, rank).double()[:, None]
    positive = basis @ (scale * randn(rank, plus, seed=seed).double())
    negative = basis @ (scale.flip(0) * randn(rank, minus, seed=seed + 1).double())
    return randn(OUT, D, seed=seed + 2).double(), positive, negative


def model_of(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


def atlas_of(weight: Tensor, cut: Any = None, **columns: Tensor) -> mt.Atlas:
    model = model_of(weight)
    data = {name: [x.T.float()] for name, x in columns.items()}
    options = mt.CollectOptions(progress=False, dtype=torch.float64)
    return mt.Atlas(model, mt.collect(model, data, options=options), cut=cut, precision=torch.float64)


@pytest.mark.parametrize("rank", [D, 3])
def test_the_closed_form_minimises_the_objective(rank: int):
    """Eq. 2 is ``‖W⁺[X⁺ X⁻] − [ΔW X⁺ 0]‖²``, least squares on stacked inputs, at minimum norm (Eq. 16 to 20)."""
    weight, plus, minus = problem(rank=rank)
    stacked = torch.cat([plus, minus], dim=1)
    target = torch.cat([weight @ plus, torch.zeros(OUT, minus.shape[1]).double()], dim=1)
    solution = torch.linalg.lstsq(stacked.T, target.T, driver="gelsd", rcond=1e-5).solution.T
    found = atlas_of(weight, a=plus, rest=minus)["a"][""]
    assert relative(found, solution) < 1e-4


def test_the_minimum_of_the_written_out_objective_of_table_1():
    """Eq. 2 in its four intervened states, by automatic differentiation: the gradient vanishes at the closed form."""
    w1, plus, minus = problem()
    w0 = randn(OUT, D, seed=8).double()
    layer = model_of(w1)
    moments = mt.collect(layer, {"a": [plus.T.float()], "rest": [minus.T.float()]}, options=QUIET)
    atlas = mt.Atlas(layer, moments, base=model_of(w0), precision=torch.float64)
    engram = atlas["a"][""].double().requires_grad_()
    states = [
        (w0 + engram) @ plus - w1 @ plus,
        (w1 - engram) @ plus - w0 @ plus,
        (w0 + engram) @ minus - w0 @ minus,
        (w1 - engram) @ minus - w1 @ minus,
    ]
    loss = sum((state**2).sum() for state in states)
    loss.backward()
    assert float(engram.grad.norm()) < 1e-4 * float((w1 @ plus @ plus.T).norm())


def test_independent_inputs_reach_the_hard_null_space_solution():
    """Eq. 10 to 12: where X⁺ leaves span(X⁻) altogether, W⁺X⁻ = 0 and W⁺X⁺ = WX⁺ hold exactly."""
    basis = torch.linalg.qr(randn(D, D).double()).Q + 0.3 * randn(D, D, seed=1).double()
    plus, minus = basis[:, :2] @ randn(2, 9).double(), basis[:, 2:5] @ randn(3, 12, seed=1).double()
    weight = randn(OUT, D).double()
    engram = atlas_of(weight, a=plus, rest=minus)["a"][""].double()
    assert float((engram @ minus).norm()) < 1e-4 * float((weight @ minus).norm())
    assert relative(engram @ plus, weight @ plus) < 1e-4


@pytest.mark.parametrize("rank", [D, 3])
def test_the_operators_and_their_complement_are_the_identity(rank: int):
    weight, plus, minus = problem(rank=rank)
    atlas = atlas_of(weight, a=plus, b=minus[:, :10], c=minus[:, 10:])
    total = sum(atlas.operator("", concept) for concept in "abc")
    complement = atlas.complement("")
    assert relative(total + complement, torch.eye(D)) < 1e-6
    assert float(complement.trace()) == pytest.approx(D - rank, abs=1e-5)
    assert float((complement @ torch.cat([plus, minus], 1)).norm()) < 1e-4
    for concept in "abc":
        eigenvalues = torch.linalg.eigvals(atlas.operator("", concept))
        assert float(eigenvalues.imag.abs().max()) < 1e-6
        assert -1e-6 < float(eigenvalues.real.min()) <= float(eigenvalues.real.max()) < 1 + 1e-6
        expected = eigenvalues.real.sort().values[-rank:]
        torch.testing.assert_close(atlas.mu("", concept), expected.double(), atol=1e-6, rtol=0)


def test_the_fisher_distance_of_an_edit_is_what_it_changes_in_the_outputs():
    """Theorem 6.1: ``vec(ΔW)ᵀ F vec(ΔW) = (σ²/N) ‖ΔW X‖²`` with K-FAC's F = A ⊗ σ²I, A and N from the moments."""
    weight, plus, minus = problem()
    layer, inputs = model_of(weight), torch.cat([plus, minus], 1).T.float()
    data = {"a": [plus.T.float()], "rest": [minus.T.float()]}
    moments = mt.collect(layer, data, options=mt.CollectOptions(progress=False, dtype=torch.float64))
    total, sigma = moments.union("", ["a", "rest"]), 0.7
    edited = mt.erase(mt.Atlas(layer, moments, precision=torch.float64), "a").apply(layer)
    difference = (edited.weight - layer.weight).double().T.reshape(-1)  # vec: column after column
    fisher = torch.kron(total.second.double() / total.count, sigma**2 * torch.eye(OUT).double())
    changed = float(((edited(inputs) - layer(inputs)).double() ** 2).sum().detach())
    assert changed > 1.0
    distance = float((difference @ fisher @ difference).detach())
    assert distance == pytest.approx(sigma**2 / len(inputs) * changed, rel=1e-5)


@pytest.mark.parametrize("rank", [D, 3])
def test_a_natural_gradient_step_is_the_ablation(rank: int):
    """Corollary 6.3: F† ∇‖WX⁺‖² is proportional to W⁺; the unit step on half the objective per sample ablates it."""
    weight, plus, minus = problem(rank=rank)
    inputs = torch.cat([plus, minus], 1)
    sigma, n = 0.7, inputs.shape[1]
    variable = weight.clone().requires_grad_()
    (sigma**2 / (2 * n) * ((variable @ plus) ** 2).sum()).backward()
    fisher = torch.kron(inputs @ inputs.T / n, sigma**2 * torch.eye(OUT).double())
    step = (torch.linalg.pinv(fisher, rtol=1e-6, hermitian=True) @ variable.grad.T.reshape(-1)).reshape(D, OUT).T
    atlas = atlas_of(weight, a=plus, rest=minus)
    assert relative(step, atlas["a"][""]) < 1e-4
    assert relative(weight - step, mt.erase(atlas, "a").apply(model_of(weight), check=False).weight) < 1e-4


def brute_operator(plus: Tensor, minus: Tensor, response: Any) -> Tensor:
    """``f(P)`` from the eigendecomposition of the nonsymmetric P itself."""
    operator = gram(plus.T) @ torch.linalg.inv(gram(plus.T) + gram(minus.T))
    values, vectors = torch.linalg.eig(operator)
    return (vectors @ torch.diag(response(values.real).to(vectors.dtype)) @ torch.linalg.inv(vectors)).real


@pytest.mark.parametrize("filter", FILTER_CASES, ids=repr)
def test_filters_are_functions_of_the_operator(filter: Any):
    weight, plus, minus = problem()
    share = plus.shape[1] / (plus.shape[1] + minus.shape[1])
    odds = (1 - share) / share
    responses = {
        "Soft": lambda mu: mu,
        "Power": lambda mu: mu ** getattr(filter, "exponent", 1),
        "Hard": lambda mu: (mu > 0.4).double(),
        "Excess": lambda mu: ((mu - share) / (1 - share)).clamp_min(0),
        "Balanced": lambda mu: odds * mu / (1 - mu + odds * mu),
    }
    expected = brute_operator(plus, minus, responses[type(filter).__name__])
    found = atlas_of(weight, a=plus, rest=minus).operator("", "a", filter)
    assert relative(found, expected) < 1e-5


def test_balanced_is_the_estimator_of_the_mean_covariances():
    weight, plus, minus = problem()
    positive, negative = gram(plus.T) / plus.shape[1], gram(minus.T) / minus.shape[1]
    expected = weight @ positive @ torch.linalg.inv(positive + negative)
    found = atlas_of(weight, a=plus, rest=minus).engram("a", mt.Balanced())[""]
    assert relative(found, expected) < 1e-5


@pytest.mark.parametrize("rank", [D, 3])
@pytest.mark.parametrize("strength", [0.1, 10.0])
def test_ridge_is_unified_concept_editing(strength: float, rank: int):
    weight, plus, minus = problem(rank=rank)
    total = gram(plus.T) + gram(minus.T) + strength * torch.eye(D).double()
    expected = weight @ gram(plus.T) @ torch.linalg.inv(total)
    found = atlas_of(weight, cut=mt.RelativeCut(0), a=plus, rest=minus).engram("a", mt.Ridge(strength))[""]
    assert relative(found, expected) < 1e-4


def test_a_filter_response_can_be_asked_for_by_name():
    for name, kind in FILTERS.items():
        made = kind(0.5) if name == "ridge" else kind()
        assert FILTER.parse(FILTER.describe(made)) == made
    with pytest.raises(ConfigurationError, match="unknown filter 'x'; choose one of soft"):
        FILTER.parse({"kind": "x"})
    with pytest.raises(ConfigurationError, match="hard: unknown setting 'x'; known: threshold"):
        FILTER.parse({"kind": "hard", "x": 1})
    with pytest.raises(DataError, match="not a function of μ"):
        mt.Ridge(1.0).response(torch.zeros(1), 0.5)


@pytest.mark.parametrize("filter", FILTER_CASES, ids=repr)
def test_grouped_and_diagonal_spectra_are_blocks_of_the_plain_one(filter: Any):
    """A group that lacks directions beside one that does not; and one-hot inputs beside their full matrix."""
    parts = [problem(rank=D), problem(rank=3, seed=4)]
    concept = torch.stack([gram(plus.T) for _, plus, _ in parts])
    total = concept + torch.stack([gram(minus.T) for _, _, minus in parts])
    found = factorise(total, mt.RelativeCut()).operator(concept, filter, 0.4)
    for i in range(2):
        alone = EigenSpectrum.of(total[i], mt.RelativeCut()).operator(concept[i], filter, 0.4)
        assert relative(found[i], alone) < 1e-6
    counts, some = torch.tensor([4.0, 0.0, 9.0, 1.0]), torch.tensor([1.0, 0.0, 9.0, 0.0])
    diagonal = factorise(counts, mt.RelativeCut())
    full = EigenSpectrum.of(counts.diag(), mt.RelativeCut())
    torch.testing.assert_close(diagonal.operator(some, filter, 0.4).diag(), full.operator(some.diag(), filter, 0.4))
    assert diagonal.rank == full.rank == 3
    assert diagonal.degrees_of_freedom(some) == pytest.approx(full.degrees_of_freedom(some.diag()))
    torch.testing.assert_close(diagonal.mu(some)[-3:], full.mu(some.diag()))


def test_the_order_of_concepts_does_not_matter():
    weight, plus, minus = problem()
    one = atlas_of(weight, a=plus, b=minus[:, :9], c=minus[:, 9:])
    other = atlas_of(weight, c=minus[:, 9:], a=plus, b=minus[:, :9])
    for concept in "abc":
        assert relative(one[concept][""], other[concept][""]) < 1e-6


@pytest.mark.parametrize("filter", [mt.Hard(0.0), mt.Power(0.1)], ids=repr)
def test_no_filter_makes_anything_of_rounding(filter: Any):
    model = nn.Linear(50, 4, bias=False)
    moments = mt.collect(model, {"a": [randn(3, 50)], "rest": [randn(400, 50, seed=1)]}, options=QUIET)
    atlas = mt.Atlas(model, moments)
    site = next(iter(atlas.sites))
    mu = atlas.spectrum(site).mu(atlas.second_moment(site, ["a"]))
    assert int((mu > 1e-3).sum()) == 3  # as many as the concept has rows
    expected = float(filter.response(mu[-3:], atlas.share(site, ["a"])).sum())
    assert float(atlas.operator(site, "a", filter).trace()) == pytest.approx(expected, rel=1e-4)
