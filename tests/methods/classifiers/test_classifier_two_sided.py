"""The two-sided edit of a classifier: its factors against brute force, where its steps lead, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers import randn, relative, same_state, state_of
from torch import nn

from mnemotomy.core.errors import ConfigurationError, SelectionError
from mnemotomy.curvature.ascent import SharedStart
from mnemotomy.curvature.weight_gradients import taken, train_only
from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers import two_sided
from mnemotomy.methods.classifiers.classifier import accuracy, logits
from mnemotomy.methods.classifiers.curvature import factored_sites, kronecker_factors
from mnemotomy.methods.classifiers.two_sided import ClassifierTwoSided

pytest.importorskip("sklearn")
from class_problems import digits, images


def drawn_labels(model: nn.Module, examples: Examples, seed: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.multinomial(model(examples.inputs).detach().softmax(-1), 1, generator=draws)[:, 0]


def test_factors_of_a_linear_layer_are_second_moments():
    model, examples = nn.Linear(5, 3), Examples(randn(40, 5), torch.arange(40) % 3)
    found = kronecker_factors(model, factored_sites(model), examples, seed=4, batch_size=64).sites[""]
    x = torch.cat([examples.inputs, torch.ones(40, 1)], 1)
    labels = nn.functional.one_hot(drawn_labels(model, examples, 4), 3)
    g = model(examples.inputs).detach().softmax(-1) - labels
    assert relative(found.inputs.moment, x.T @ x / 40) < 1e-5
    assert relative(found.outputs.moment, g.T @ g / 40) < 1e-5


def test_factors_of_a_convolution_run_over_positions():
    problem = images()
    model, examples = problem.model, problem.retain
    found = kronecker_factors(model, factored_sites(model), examples, seed=0, batch_size=64).sites["conv"]
    patches = nn.functional.unfold(examples.inputs, 3, padding=1).transpose(1, 2).reshape(-1, 9)
    assert relative(found.inputs.moment, patches.T @ patches / len(patches)) < 1e-5
    given: list[torch.Tensor] = []
    handle = model.conv.register_forward_hook(lambda _m, _i, output: given.append(output))
    labels = drawn_labels(model, examples, 0)
    given.clear()
    loss = nn.functional.cross_entropy(model(examples.inputs), labels, reduction="sum")
    handle.remove()
    (g,) = torch.autograd.grad(loss, given)
    rows = g.permute(0, 2, 3, 1).reshape(-1, 4)
    assert relative(found.outputs.moment, rows.T @ rows / len(examples)) < 1e-4


def test_layers_that_do_not_affect_the_logits_are_left_alone():
    problem = digits()

    class WithHeads(nn.Module):
        """A classifier with a head that is never called, and one whose output nobody reads."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = problem.model
            self.idle, self.unread = nn.Linear(3, 2), nn.Linear(10, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = self.inner(x)
            self.unread(found)
            return found

    model = WithHeads()
    factors = kronecker_factors(model, factored_sites(model), problem.retain[slice(0, 60)], seed=0, batch_size=32)
    assert set(factors.sites) == {f"inner.{name}" for name in factored_sites(problem.model)}
    found = ClassifierTwoSided()(replace(problem, model=model))
    assert accuracy(found, problem.forget) < 0.02
    assert same_state(found.idle, state_of(model.idle))
    assert same_state(found.unread, state_of(model.unread))


def test_batches_make_no_difference():
    model, examples = digits().model, digits().retain[slice(0, 90)]
    one, other = (kronecker_factors(model, factored_sites(model), examples, seed=0, batch_size=n) for n in (90, 16))
    for name in one.sites:
        gradient = randn(len(one.sites[name].outputs.moment), len(one.sites[name].inputs.moment))
        assert relative(one.sites[name].solve(gradient, 0.1), other.sites[name].solve(gradient, 0.1)) < 1e-3


def test_gradients_are_of_canonical_weights():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    sites = factored_sites(model)
    train_only(model, sites)
    model(randn(5, 1, 4, 4)).sum().backward()
    expected = torch.cat([model[0].weight.grad.flatten(1), model[0].bias.grad[:, None]], 1)
    found = taken(model, sites)
    assert torch.equal(found["0"], expected)
    assert model[0].weight.grad is None
    assert torch.equal(taken(model, sites)["2"], torch.zeros(3, 9))


@pytest.mark.parametrize("steps", [1, 5])
def test_the_margins_come_to_their_level(steps: int):
    problem = digits()
    method = ClassifierTwoSided(steps=steps, overshoot=0.5)
    found = method(problem)
    given = logits(found, problem.forget.inputs).detach()
    margins = given[:, 0] - given[:, 1:].amax(1)
    assert float(margins.mean()) < 0.0
    assert accuracy(found, problem.forget) < 0.02
    assert accuracy(found, problem.retain) > 0.98


def test_edits_that_share_a_start_are_the_same_and_read_the_factors_once(monkeypatch: pytest.MonkeyPatch):
    problem = digits()
    methods = [ClassifierTwoSided(damping=damping, steps=2, read=100) for damping in (0.05, 0.2)]
    alone = [state_of(method(problem)) for method in methods]
    reads: list[str] = []
    monkeypatch.setattr(
        two_sided, "kronecker_factors", lambda *args: (reads.append("factors"), kronecker_factors(*args))[1]
    )
    shared = SharedStart()
    for method, state in zip(methods, alone, strict=True):
        assert same_state(method(problem, shared), state)
    assert len(reads) == 1


def test_more_overshoot_goes_further():
    problem = digits()
    margins = []
    for overshoot in (0.0, 0.3, 0.8):
        given = logits(ClassifierTwoSided(overshoot=overshoot)(problem), problem.forget.inputs).detach()
        margins.append(float((given[:, 0] - given[:, 1:].amax(1)).mean()))
    assert margins == sorted(margins, reverse=True)


def test_unrecognised_examples_are_refused():
    problem = digits()
    wrong = Examples(problem.forget.inputs, torch.full_like(problem.forget.labels, 7))
    with pytest.raises(ConfigurationError, match=r"recognises none of the .* examples to forget"):
        ClassifierTwoSided()(replace(problem, forget=wrong))


def test_convolutions_are_edited_and_statistics_are_not():
    problem, model = images(), images().model
    recognised = Examples(problem.forget.inputs, model(problem.forget.inputs).argmax(1))
    found = ClassifierTwoSided()(replace(problem, forget=recognised))
    assert not torch.equal(found.conv.weight, model.conv.weight)
    assert torch.equal(found.norm.weight, model.norm.weight)
    assert torch.equal(found.norm.running_mean, model.norm.running_mean)


@pytest.mark.parametrize("settings", [{"steps": 0}, {"damping": -1.0}, {"overshoot": -0.1}, {"repair": -1.0}])
def test_settings_out_of_range(settings: dict[str, float]):
    with pytest.raises(ConfigurationError):
        ClassifierTwoSided(**settings)


def test_networks_without_factored_layers_are_refused():
    with pytest.raises(SelectionError, match="no ungrouped convolution"):
        factored_sites(nn.Sequential(nn.Conv2d(4, 4, 3, groups=4)))


def test_inplace_activations_do_not_change_the_factors():
    def network(inplace: bool) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=inplace), nn.Linear(8, 3)).eval()

    examples = Examples(randn(20, 6), torch.arange(20) % 3)
    plain, overwritten = (
        kronecker_factors(model, factored_sites(model), examples, 0, 20) for model in map(network, (False, True))
    )
    for name, factor in plain.sites.items():
        assert torch.equal(overwritten.sites[name].outputs.moment, factor.outputs.moment)
        assert torch.equal(overwritten.sites[name].inputs.moment, factor.inputs.moment)
