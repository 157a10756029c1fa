"""Gradients, bounds and energies against quadratics by hand and against full Jacobians."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers import mlp, randn, same_state, state_of, text_batch, tiny_llama
from torch import Tensor, nn

from mnemotomy.core.errors import DataError, ModelError, NonFiniteError, SelectionError
from mnemotomy_bench.metabolism.energy import metabolic_energy
from mnemotomy_bench.metabolism.theory import bound_of_corollary, bound_of_proposition, gradient_cosines, gradients


def language_loss(seed: int) -> Any:
    batch = text_batch(seed=seed, padded=False)

    def loss(model: nn.Module) -> Tensor:
        logits = model(**batch).logits[:, :-1]  # transformers' own loss rounds to float32
        return nn.functional.cross_entropy(logits.flatten(0, 1), batch["input_ids"][:, 1:].flatten())

    return loss


def flat(model: nn.Module, loss: Any, names: list[str] | None = None) -> Tensor:
    found = gradients(model, loss)
    return torch.cat([found[name].flatten() for name in (names or found)])


def quadratic(matrix: Tensor) -> Any:
    """``½ wᵀ A w`` of a layer without bias."""
    return lambda model: 0.5 * model.weight[0] @ matrix @ model.weight[0]


@pytest.fixture
def vector() -> nn.Linear:
    layer = nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0, -1.0]]))
    return layer


def test_cosines_by_block_and_overall():
    model = tiny_llama().double()
    fact, logic = language_loss(1), language_loss(2)
    report = gradient_cosines(model, fact, logic)
    assert list(report.blocks) == ["model.embed_tokens", "0", "1", "model.norm", "lm_head"]
    expected = torch.cosine_similarity(flat(model, fact), flat(model, logic), dim=0)
    assert report.overall.cosine == pytest.approx(float(expected))
    assert report.overall.norm == pytest.approx(float(flat(model, fact).norm()))
    names = [name for name, _ in model.named_parameters() if ".1." in name]
    expected = torch.cosine_similarity(flat(model, fact, names), flat(model, logic, names), dim=0)
    assert report.blocks["1"].cosine == pytest.approx(float(expected))
    assert report.blocks["1"].logic_norm == pytest.approx(float(flat(model, logic, names).norm()))
    assert math.hypot(*(part.norm for part in report.blocks.values())) == pytest.approx(report.overall.norm)
    assert [record["block"] for record in report.records()] == list(report.blocks)


def test_a_vanishing_gradient_has_no_cosine():
    model = mlp(2, 3, 1)
    x = randn(4, 2)
    report = gradient_cosines(model, lambda m: m[0](x).sum(), lambda m: m(x).sum())
    assert list(report.blocks) == ["0", "2"]
    assert math.isnan(report.blocks["2"].cosine)
    assert report.blocks["2"].norm == report.blocks["2"].bound == 0.0


def test_the_proposition_on_quadratics(vector: nn.Linear):
    fact, logic = torch.diag(torch.tensor([1.0, 0.0, 2.0])).double(), torch.diag(torch.tensor([3.0, 1.0, 1.0])).double()
    w = vector.weight[0].detach().clone()
    check = bound_of_proposition(vector, quadratic(fact), quadratic(logic), 0.1)
    step = -0.1 * fact @ w
    assert check.change == pytest.approx(float(0.5 * (w + step) @ logic @ (w + step) - 0.5 * w @ logic @ w))
    assert check.first_order == pytest.approx(float((logic @ w) @ step))
    assert check.bound == pytest.approx(abs(check.first_order))
    assert check.remainder == pytest.approx(float(0.5 * step @ logic @ step))
    assert check.remainder_ratio == pytest.approx(4.0)
    assert check.measured <= check.bound + check.remainder


def test_orthogonal_gradients_leave_only_the_second_order(vector: nn.Linear):
    fact, logic = torch.diag(torch.tensor([1.0, 0.0, 0.0])).double(), torch.diag(torch.tensor([0.0, 1.0, 1.0])).double()
    check = bound_of_proposition(vector, quadratic(fact), quadratic(logic), 0.1)
    assert check.bound == check.measured == check.remainder == 0.0
    assert math.isnan(check.remainder_ratio)


def test_the_remainder_of_a_smooth_network_is_of_second_order():
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    x, y = randn(6, 3).double(), randn(6, 3, seed=1).double()
    for rate, tolerance in ((1e-2, 1e-2), (1e-3, 1e-3)):
        check = bound_of_proposition(model, lambda m: m(x).square().mean(), lambda m: m(y).exp().mean(), rate)
        assert check.remainder_ratio == pytest.approx(4.0, abs=tolerance)


def test_the_proposition_on_a_language_model():
    model = tiny_llama(initializer_range=0.1)
    check = bound_of_proposition(model, language_loss(1), language_loss(2), 1e-2)
    assert check.remainder_ratio == pytest.approx(4.0, abs=0.2)
    assert check.remainder < 0.1 * check.bound
    assert check.measured <= check.bound + check.remainder
    assert check.bound == pytest.approx(abs(check.first_order))


def test_the_corollary_sums_the_bounds():
    model = tiny_llama(initializer_range=0.1).double()
    losses = {"fact": (1.0, language_loss(1)), "rag": (-0.5, language_loss(3)), "kl": (-2.0, language_loss(4))}
    logic = language_loss(2)
    check = bound_of_corollary(model, losses, logic, 1e-2)
    g = flat(model, logic)
    products = {name: float(factor * flat(model, loss) @ g) for name, (factor, loss) in losses.items()}
    assert check.bound == pytest.approx(1e-2 * sum(abs(product) for product in products.values()))
    assert check.first_order == pytest.approx(1e-2 * sum(products.values()))
    assert abs(check.first_order) < check.bound
    assert check.remainder_ratio == pytest.approx(4.0, abs=0.3)
    assert list(check.components) == list(losses)


def test_the_checks_leave_the_model_as_it_was():
    model = tiny_llama(attention_dropout=0.5)
    model.train()
    model.model.embed_tokens.weight.requires_grad_(False)
    model.lm_head.weight.grad = torch.ones_like(model.lm_head.weight)
    before = state_of(model)
    with torch.no_grad():
        gradient_cosines(model, language_loss(1), language_loss(2))
        bound_of_proposition(model, language_loss(1), language_loss(2), 0.3)
        metabolic_energy(model, text_batch(), [1], [[1]] * 4, samples=2)
    with pytest.raises(NonFiniteError, match="shorter"):
        bound_of_proposition(model, language_loss(1), lambda m: m.lm_head.weight.sum() * 1e38, 1e30)
    assert same_state(model, before)
    assert model.training
    assert all(module.training for module in model.modules())
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (name != "lm_head.weight")
    assert torch.equal(model.lm_head.weight.grad, torch.ones_like(model.lm_head.weight))


def test_what_has_no_gradient_is_refused(vector: nn.Linear):
    square = quadratic(torch.eye(3).double())
    with pytest.raises(DataError, match="at least one loss"):
        bound_of_corollary(vector, {}, square, 0.1)
    with pytest.raises(DataError, match="above 0"):
        bound_of_proposition(vector, square, square, 0.0)
    with pytest.raises(ModelError, match="one number"):
        gradients(vector, lambda model: model.weight)
    with pytest.raises(ModelError, match="one number"):
        gradients(vector, lambda model: torch.ones(()))
    with pytest.raises(NonFiniteError, match="weight"):
        gradients(vector, lambda model: model.weight.sum() * math.inf)
    with pytest.raises(ModelError, match="requires_grad_"):
        gradients(vector.requires_grad_(False), square)


BATCH = text_batch(3, 6)
POSITIONS = [[2], [1, 3], []]


def exact_energy(model: Any, layer: int, names: list[str]) -> float:
    """``‖J‖²_F`` per position, one output dimension at a time."""
    weights = [parameter for name, parameter in model.named_parameters() if name in names]
    states = model(**BATCH, use_cache=False, output_hidden_states=True).hidden_states[layer]
    places = [(row, column) for row, columns in enumerate(POSITIONS) for column in columns]
    total = 0.0
    for row, column in places:
        for entry in states[row, column]:
            found = torch.autograd.grad(entry, weights, retain_graph=True, allow_unused=True)
            total += sum(float(part.square().sum()) for part in found if part is not None)
    return total / len(places)


@pytest.mark.parametrize("pattern", ["", "layers.0.mlp"])
def test_energy_estimates_the_jacobians_norm(pattern: str):
    model = tiny_llama(hidden_size=8, intermediate_size=8)
    names = [name for name, _ in model.named_parameters() if pattern in name]
    chosen = names if pattern else None
    found = metabolic_energy(model, BATCH, [0, 1, 2], POSITIONS, samples=300, parameters=chosen)
    assert (found.positions, found.samples) == (3, 300)
    for layer in (0, 1, 2):
        exact = exact_energy(model, layer, names)
        assert abs(found.energy[layer] - exact) <= 3 * found.standard_error[layer]
        assert found.standard_error[layer] <= 0.1 * exact
    assert found.total == pytest.approx(sum(found.energy.values()))
    if pattern:
        assert found.energy[0] == 0.0  # no selected weight lies before the embedding's output


def test_the_energy_of_an_embedding_is_the_width():
    """``h_0`` is a row of the embedding, whose Jacobian with respect to it is the identity."""
    found = metabolic_energy(tiny_llama(), BATCH, [0], [[0], [0], [0]], samples=400)
    distinct = len(BATCH["input_ids"][:, 0].unique()) == 3
    assert distinct
    assert found.energy[0] == pytest.approx(16.0, rel=0.1)


def test_layers_do_not_change_each_other():
    model = tiny_llama()
    together = metabolic_energy(model, BATCH, [1, 2], POSITIONS, samples=3)
    assert metabolic_energy(model, BATCH, [2], POSITIONS, samples=3).energy[2] == together.energy[2]
    assert metabolic_energy(model, BATCH, [2], POSITIONS, samples=3, seed=1).energy[2] != together.energy[2]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"samples": 1}, DataError, "two samples"),
        ({"layers": []}, DataError, "at least one layer"),
        ({"layers": [3]}, DataError, "no layer 3"),
        ({"positions": [[0]]}, DataError, "3 rows"),
        ({"positions": [[0], [6], []]}, DataError, "no position 6"),
        ({"positions": [[], [], []]}, DataError, "no row"),
        ({"parameters": ["nothing"]}, SelectionError, "nothing"),
        ({"parameters": []}, SelectionError, "no parameter"),
    ],
)
def test_energies_that_do_not_exist_are_refused(changes: dict, error: type[Exception], message: str):
    arguments: dict = {"layers": [1], "positions": POSITIONS} | changes
    with pytest.raises(error, match=message):
        metabolic_energy(tiny_llama(), BATCH, **arguments)
