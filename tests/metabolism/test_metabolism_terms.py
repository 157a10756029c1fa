"""RLCP's terms one by one, and the whole objective against a computation by hand."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import tiny_llama
from torch import nn

from mnemotomy.core.errors import ConfigurationError, ModelError
from mnemotomy.core.modules import blocks_by_name
from mnemotomy.metabolism.objective import Objective, StepInputs
from mnemotomy.metabolism.probe import LinearProbe, hidden_states, layers_from, resolve_layer
from mnemotomy.metabolism.rlcp import RLCP, Training, described
from mnemotomy.metabolism.streams import Sequences
from mnemotomy.metabolism.terms import (
    Collapse,
    Constant,
    NegativeCrossEntropy,
    Reversal,
    Sigmoid,
    Unlikelihood,
    Watching,
    answer_cross_entropy,
    kl_divergence,
    reverse_gradient,
    spread,
)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_reversal_is_the_identity_and_reverses_the_gradient(alpha: float):
    states = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 3, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 1])
    shown = reverse_gradient(states, alpha)
    assert torch.equal(shown, states)
    nn.functional.cross_entropy(shown @ weight, labels).backward()
    # ∂CE/∂h = (softmax − onehot) Wᵀ / n
    analytic = ((states @ weight).softmax(-1) - nn.functional.one_hot(labels, 3)) @ weight.T / 4
    torch.testing.assert_close(states.grad, -alpha * analytic.detach())


def test_the_schedule_is_the_papers():
    schedule = Sigmoid()
    assert schedule(0.0) == 0.0
    assert schedule(0.1) == pytest.approx(2 / (1 + math.exp(-1)) - 1)
    assert schedule(1.0) == pytest.approx(0.99990920, abs=1e-7)
    assert Constant(0.7)(0.0) == Constant(0.7)(1.0) == 0.7


def test_negative_cross_entropy_by_hand():
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]]))
    labels = torch.tensor([[-100, 1]])
    assert float(NegativeCrossEntropy()(logits, labels)) == pytest.approx(0.5 * math.log(0.8))
    assert float(answer_cross_entropy(logits, labels)) == pytest.approx(-math.log(0.8))
    assert float(answer_cross_entropy(logits, labels)) == pytest.approx(-math.log(0.8))


def test_unlikelihood_is_bounded_and_finite():
    labels = torch.tensor([[1]])
    logits = torch.log(torch.tensor([[[0.2, 0.8]]]))
    assert float(Unlikelihood(2.0)(logits, labels)) == pytest.approx(-2.0 * math.log(0.2), rel=1e-5)
    certain = torch.tensor([[[0.0, 200.0]]], requires_grad=True)
    loss = Unlikelihood()(certain, labels)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(certain.grad).all()
    assert float(loss.detach()) == pytest.approx(200.0)  # p is 1 in float32, and the loss still falls with it
    assert certain.grad.tolist() == [[[-1.0, 1.0]]]
    gone = Unlikelihood()(torch.tensor([[[200.0, 0.0]]]), labels)
    assert float(gone) == pytest.approx(0.0, abs=1e-6)


def test_kl_is_scipys_over_the_counted_positions():
    from scipy.stats import entropy

    reference, logits = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    counted = torch.tensor([[True, False, True], [True, True, False]])
    by_hand = [
        entropy(reference[i, j].softmax(-1).numpy(), logits[i, j].softmax(-1).numpy())
        for i in range(2)
        for j in range(3)
        if counted[i, j]
    ]
    assert float(kl_divergence(logits[counted], reference[counted])) == pytest.approx(sum(by_hand) / 4, rel=1e-5)
    assert float(kl_divergence(logits[counted], logits[counted])) == pytest.approx(0.0, abs=1e-7)


def test_spread_is_the_share_of_variance_within_a_slot():
    states = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]])
    slots = torch.tensor([0, 0, 1])
    assert float(spread(states, slots)) == pytest.approx((1 + 1 + 0) / (1 + 9 + 25))
    assert float(spread(states, torch.tensor([0, 1, 2]))) == 0.0


def adversary_gradients(adversary, alpha=0.5):
    torch.manual_seed(0)
    probes = adversary.probes(6, 3, 2)
    states = {name: torch.randn(6, 6, requires_grad=True) for name in ("a", "b")}
    labels, slots = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 0, 0, 1, 1, 1])
    verdict = adversary(probes, states, labels, slots, alpha)
    verdict.loss.backward()
    return verdict, probes, states, labels


def test_a_watching_probe_learns_without_a_gradient_for_the_model():
    _, probes, states, _ = adversary_gradients(Watching())
    assert probes[0].readout.weight.grad.abs().sum() > 0
    assert all(state.grad is None for state in states.values())


def test_a_reversed_probe_reverses_the_gradient_of_the_model():
    _, probes, states, labels = adversary_gradients(Reversal(), alpha=1.0)
    reversed_gradient = states["a"].grad.clone()
    state = states["a"].detach().clone().requires_grad_()
    nn.functional.cross_entropy(probes[0](state), labels).backward()
    torch.testing.assert_close(reversed_gradient, -state.grad)


def test_collapse_draws_the_states_of_a_slot_together():
    _, _, states, _ = adversary_gradients(Collapse(), alpha=1.0)
    slots = torch.tensor([0, 0, 0, 1, 1, 1])
    for state in states.values():
        assert spread(state.detach() - 0.5 * state.grad, slots) < spread(state.detach(), slots)
        assert state.grad[:3].sum(0).abs().max() < 1e-5  # the mean of a slot stays where it is


def test_layers_by_number_share_and_name():
    model = tiny_llama(num_hidden_layers=6)
    assert next(iter(blocks_by_name(model))) == "model.layers.0"
    assert resolve_layer(model, 5) == resolve_layer(model, 20 / 24) == "model.layers.4"
    assert resolve_layer(model, "model.layers.2.mlp") == "model.layers.2.mlp"
    assert layers_from(model, 5) == ["model.layers.4", "model.layers.5"]
    with hidden_states(model, ["model.layers.4"]) as states:
        ids = torch.tensor([[1, 2, 3]])
        output = model(ids, output_hidden_states=True)
    torch.testing.assert_close(states["model.layers.4"], output.hidden_states[5])


@pytest.mark.parametrize("layer", [0, 7, -1, 1.5, 0.0])
def test_a_layer_out_of_range_is_named(layer):
    with pytest.raises(ModelError, match=r"6 blocks|share of the depth"):
        resolve_layer(tiny_llama(num_hidden_layers=6), layer)


def test_a_model_without_that_layer_or_without_blocks():
    with pytest.raises(ModelError, match=r"no module 'model\.layers\.9'"):
        resolve_layer(tiny_llama(), "model.layers.9")
    with pytest.raises(ModelError, match="no list of blocks"):
        resolve_layer(nn.Linear(2, 2), 1)


def texts(ids, labels, last):
    ids = torch.tensor(ids)
    return Sequences(ids, torch.ones_like(ids), torch.tensor(labels), torch.tensor(last))


@pytest.fixture
def example():
    asked = texts([[3, 4, 5], [6, 7, 8]], [[-100, 5, -100], [-100, 8, -100]], [1, 1])
    told = texts([[9, 5, 3, 4, 5], [9, 8, 6, 7, 8]], [[-100] * 3 + [5, -100], [-100] * 3 + [8, -100]], [3, 3])
    kept = texts([[11, 12, 13]], [[-100] * 3], [2])
    return asked, told, kept


def test_the_whole_objective_by_hand(example):
    asked, told, _ = example
    model, reference = tiny_llama(), tiny_llama(initializer_range=0.2)
    config = RLCP(layer=1)
    objective = Objective(model, config, classes=2)
    with torch.no_grad():
        teacher = reference(asked.input_ids).logits
    alpha, labels = 0.37, torch.tensor([0, 1])
    terms = objective(StepInputs(alpha, labels, torch.tensor([0, 0]), asked, told, None, teacher, None))
    terms["total"].backward()
    trained = {name: p.grad.clone() for name, p in model.named_parameters()}
    probe_gradient = objective.probes[0].readout.weight.grad.clone()

    model.zero_grad()
    output = model(asked.input_ids, output_hidden_states=True)
    log_p = output.logits.log_softmax(-1)
    l_l = -0.5 * -(log_p[0, 1, 5] + log_p[1, 1, 8]) / 2
    p_ref = teacher.softmax(-1)
    l_kl = (p_ref * (p_ref.log() - log_p)).sum(-1).mean()
    rag = model(told.input_ids).logits.log_softmax(-1)
    l_rag = -(rag[0, 3, 5] + rag[1, 3, 8]) / 2
    probe: LinearProbe = objective.probes[0]
    state = output.hidden_states[1][:, 1]
    l_p = nn.functional.cross_entropy(state @ probe.readout.weight.T + probe.readout.bias, labels)
    by_hand = 1.0 * l_rag + 2.0 * l_p + l_l + 5.0 * l_kl
    for name, value in (("L_RAG", l_rag), ("L_P", l_p), ("L_L", l_l), ("L_KL", l_kl), ("total", by_hand)):
        assert float(terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-5), name
    # the model's share of the probe's loss arrives reversed: −α λ_adv ∂L_P/∂θ
    (l_rag + l_l + 5.0 * l_kl - alpha * 2.0 * l_p).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(trained[name], parameter.grad, rtol=1e-4, atol=1e-6)
    objective.zero_grad()
    (2.0 * nn.functional.cross_entropy(probe(state.detach()), labels)).backward()
    torch.testing.assert_close(probe_gradient, probe.readout.weight.grad, rtol=1e-4, atol=1e-6)


def test_retained_texts_and_the_kl_before_the_answer(example):
    asked, told, kept = example
    model, reference = tiny_llama(), tiny_llama(initializer_range=0.2)
    with torch.no_grad():
        teacher, teacher_kept = reference(asked.input_ids).logits, reference(kept.input_ids).logits
    config = RLCP.stable(layer=1, lambda_kl=3.0)
    objective = Objective(model, config, classes=2)
    assert objective.layers == ["model.layers.0", "model.layers.1"]
    slots = torch.tensor([0, 0])
    terms = objective(StepInputs(1.0, torch.tensor([0, 1]), slots, asked, told, kept, teacher, teacher_kept))
    before_answer = torch.tensor([[True, False, True], [True, False, True]])
    with torch.no_grad():
        kl = kl_divergence(model(asked.input_ids).logits[before_answer], teacher[before_answer])
        retained = kl_divergence(model(kept.input_ids).logits[0], teacher_kept[0])
    assert float(terms["L_KL"].detach()) == pytest.approx(float(kl), rel=1e-4)
    assert float(terms["L_retain"].detach()) == pytest.approx(float(retained), rel=1e-4)
    parts = {k: float(v.detach()) for k, v in terms.items()}
    total = parts["L_RAG"] + config.lambda_adv * parts["adversary"] + parts["L_L"]
    total += 3.0 * parts["L_KL"] + config.lambda_retain * parts["L_retain"]
    assert parts["total"] == pytest.approx(total, rel=1e-5)


def test_the_defaults_are_the_papers():
    config = RLCP()
    assert (config.lambda_adv, config.lambda_rag, config.lambda_kl) == (2.0, 1.0, 5.0)
    assert (config.training.epochs, config.training.batch_size) == (50, 4)
    assert round(config.layer * 24) == 20
    assert config.suppression == NegativeCrossEntropy(0.5)
    assert (config.adversary, config.schedule) == (Reversal(), Sigmoid(10.0))


@pytest.mark.parametrize("make", [RLCP, RLCP.stable])
def test_an_adversary_of_weight_0_only_watches(make):
    assert make(lambda_adv=0.0).acting == Watching()
    assert make().acting == make().adversary != Watching()


def test_a_spread_is_as_small_under_autocast():
    torch.manual_seed(0)
    alike = torch.randn(1, 64).repeat(8, 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert float(spread(alike, torch.zeros(8, dtype=torch.long))) < 1e-12


def test_baselines_and_ablations_are_one_line_each():
    b, c = RLCP.just_rag(), RLCP.unlikelihood()
    assert (b.lambda_adv, b.suppression, b.lambda_kl, b.lambda_rag) == (0.0, None, 5.0, 1.0)
    assert (c.lambda_adv, c.lambda_rag, c.lambda_kl) == (0.0, 0.0, 0.0)
    assert c.suppression == NegativeCrossEntropy(0.5)
    assert RLCP.without("kl").lambda_kl == 0.0
    assert RLCP.without("suppression").suppression is None
    assert RLCP.without("schedule").schedule == Constant()
    assert RLCP.without("reversal").lambda_adv == 0.0
    assert RLCP.from_engram().engram is not None
    with pytest.raises(ConfigurationError, match="choose one of"):
        RLCP.without("probe")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RLCP(lambda_adv=-1.0), "lambda_adv"),
        (lambda: RLCP(counterfactuals=1.5), "from 0 to 1"),
        (lambda: Training(epochs=0), "epochs"),
        (lambda: Training(learning_rate=0.0), "learning_rate"),
        (lambda: Training(reference="adapter"), "lora"),
        (lambda: Training(reference="frozen"), "reference is one of"),
        (lambda: Training(precision="fp16"), "precision is 'no' or 'bf16'"),
        (lambda: Training(probe_learning_rate=0.0), "probe_learning_rate"),
        (lambda: Training(weight_decay=-1.0), "weight_decay is at least 0"),
        (lambda: RLCP(kl_on="prompts"), "kl_on is 'all' or 'prompt'"),
        (lambda: RLCP(lambda_adv=0.0, lambda_rag=0.0, lambda_kl=0.0, suppression=None), "nothing to train for"),
    ],
)
def test_settings_out_of_range(make, message: str):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_a_configuration_describes_itself_in_full():
    import json

    text = json.dumps(described(RLCP.from_engram()))
    for word in ("Collapse", "Unlikelihood", "Sigmoid", "threshold", "learning_rate", "counterfactuals"):
        assert word in text
