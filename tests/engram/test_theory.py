"""The closed form against brute force: minimisers, projectors, the Fisher metric, filters and cuts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import QUIET, gram, randn, relative
from torch import Tensor, nn

import mnemotomy as mt
from mnemotomy.core.errors import ConfigurationError, DataError, NonFiniteError
from mnemotomy.engram import factorise as factorise_module
from mnemotomy.engram.cut import CUT
from mnemotomy.engram.factorise import factorise
from mnemotomy.engram.filters import FILTER, FILTERS
from mnemotomy.engram.spectrum import CholeskySpectrum, DeflatedSpectrum, EigenSpectrum, LivingSpectrum

D, OUT = 6, 4
FILTER_CASES = [mt.Soft(), mt.Power(2.0), mt.Power(0.5), mt.Hard(0.4), mt.Excess(), mt.Balanced()]


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
