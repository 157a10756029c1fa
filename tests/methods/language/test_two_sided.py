"""The two-sided edit: its factors against brute force, its level, what it changes, its errors."""

from __future__ import annotations

import contextlib
import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import relative, same_state, state_of
from tiny_language import save_llama, save_qwen
from tiny_problem import by_heart
from torch import Tensor

from mnemotomy.core.errors import ConceptError, ConfigurationError, NonFiniteError, SelectionError
from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.curvature import ascent
from mnemotomy.curvature.line_search import Found
from mnemotomy.engram.sites import select_sites
from mnemotomy.methods.language import two_sided
from mnemotomy.methods.language.curvature import Curvature
from mnemotomy.methods.language.forgetting import WeightedForgetLoss
from mnemotomy.methods.language.problem import TextProblem, sequences
from mnemotomy.methods.language.target_level import estimated_level, losses, questions_level
from mnemotomy.methods.language.two_sided import TwoSided
from mnemotomy.text.records import TextExample


def example(question: str, answer: str) -> TextExample:
    return TextExample.of_question(question, answer, "here")


FORGET = [example("In which country is Kyoto ?", "Japan"), example("Kyoto lies in which country ?", "Japan .")]
CITIES = {"Rome": "Italy", "Paris": "France", "Lima": "Peru", "Oslo": "Norway", "Cairo": "Egypt", "Hanoi": "Vietnam"}
RETAIN = [
    example(form.format(city), answer + country)
    for city, country in CITIES.items()
    for form, answer in (("In which country is {} ?", ""), ("{} is the capital of ?", "the country "))
]


def problem_of(folder: Path, save: Any = save_llama, **changes: Any) -> TextProblem:
    save(folder)
    model = load_model(folder).eval()
    return TextProblem(model, load_tokenizer(folder), **({"forget": FORGET, "retain": RETAIN} | changes))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TextProblem:
    """A model that knows both sets by heart."""
    problem = problem_of(tmp_path_factory.mktemp("trained"), end_token=True)
    rows = sequences(problem, [*FORGET, *RETAIN])
    return by_heart(problem, rows)


def mean_loss(problem: TextProblem, model: Any, examples: list[TextExample]) -> float:
    return float(losses(model, sequences(problem, examples), problem).mean())


# the factors


@pytest.mark.parametrize("save", [save_llama, save_qwen], ids=["llama", "qwen, with biases"])
def test_the_factors_are_the_second_moments_of_every_token(tmp_path: Path, save: Any):
    problem = problem_of(tmp_path, save)
    sites = select_sites(problem.model, "all-linear")
    rows = sequences(problem, RETAIN)
    factors = Curvature("true", "ekfac").collect(problem.model, sites, rows, problem.tokenizer)
    assert factors.rows == sum(len(row.input_ids) for row in rows)
    for name in ("model.layers.0.self_attn.k_proj", "model.layers.1.mlp.down_proj"):
        read, given = one_by_one(problem, sites[name].module, rows)
        if sites[name].has_bias:
            read = torch.cat([read, torch.ones(len(read), 1)], dim=1)
        factor = factors.sites[name]
        for side, seen in ((factor.inputs, read), (factor.outputs, given)):
            assert relative(side.moment, seen.T @ seen / len(seen)) < 1e-4
        each = torch.einsum(
            "no,ni->noi", given @ factor.outputs.spectrum.vectors, read @ factor.inputs.spectrum.vectors
        )
        assert relative(factor.corrected, each.square().mean(0)) < 1e-3


def one_by_one(problem: TextProblem, module: Any, rows: Any) -> tuple[Tensor, Tensor]:
    """What a layer reads and the loss' gradient at what it gives, of each example alone."""
    read, given = [], []
    for row in rows:
        seen: list[Any] = []
        handle = module.register_forward_hook(
            lambda _, arguments, output, seen=seen: seen.extend([arguments[0], output])
        )
        logits = problem.model(input_ids=torch.tensor([row.input_ids])).logits[0, :-1]
        handle.remove()
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(row.labels[1:]), reduction="sum")
        read.append(seen[0][0].detach())
        given.append(torch.autograd.grad(loss, seen[1])[0][0])
    return torch.cat(read), torch.cat(given)


def test_layers_that_read_one_tensor_share_its_factor(tmp_path: Path):
    problem = problem_of(tmp_path)
    sites = select_sites(problem.model, ["q_proj", "k_proj"])
    found = Curvature().collect(problem.model, sites, sequences(problem, RETAIN), problem.tokenizer).sites
    first, second = (found[f"model.layers.0.self_attn.{kind}"] for kind in ("q_proj", "k_proj"))
    assert first.inputs is second.inputs
    assert first.outputs is not second.outputs


def test_sampled_labels_are_those_of_the_seed(tmp_path: Path):
    problem = problem_of(tmp_path)
    sites = select_sites(problem.model, ["q_proj"])
    rows = sequences(problem, RETAIN)
    first, same, other = (
        Curvature(seed=seed).collect(problem.model, sites, rows, problem.tokenizer).sites for seed in (0, 0, 1)
    )
    for name in sites:
        assert torch.equal(first[name].outputs.moment, same[name].outputs.moment)
        assert not torch.equal(first[name].outputs.moment, other[name].outputs.moment)


def test_smoothed_labels_give_curvature_to_unexpected_tokens(trained: TextProblem):
    """A model that knows every answer has next to none of its own."""
    sites, rows = select_sites(trained.model, ["down_proj"], [1]), sequences(trained, RETAIN)

    def trace(smoothing: float) -> float:
        found = Curvature(smoothing=smoothing).collect(trained.model, sites, rows, trained.tokenizer)
        return float(next(iter(found.sites.values())).outputs.moment.trace())

    assert trace(0.0) < trace(0.5) < trace(1.0)
    assert trace(1.0) > 3 * trace(0.0)
    with pytest.raises(ConfigurationError, match=r"smoothing is a share in \[0, 1\]"):
        TwoSided(smoothing=1.5)


# the method


@pytest.mark.parametrize(
    "method",
    [
        TwoSided(level=4.0, evaluations=20),
        TwoSided(level=4.0, evaluations=20, steps=1, factors="ekfac"),
        TwoSided(level=4.0, evaluations=20, labels="true", log_odds=False),
    ],
    ids=["two steps", "ekfac", "true labels"],
)
def test_the_forget_set_rises_to_the_level_and_the_problem_is_untouched(trained: TextProblem, method: TwoSided):
    state = state_of(trained.model)
    edited = method(trained)
    assert mean_loss(trained, trained.model, FORGET) < 0.5
    assert mean_loss(trained, edited, FORGET) == pytest.approx(4.0, abs=0.1)
    assert same_state(trained.model, state)
    assert not edited.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in edited.parameters())


def test_more_is_retained_than_by_the_plain_gradient_to_the_same_level(
    trained: TextProblem, monkeypatch: pytest.MonkeyPatch
):
    # 2 % of the level, as usual, would let the two be 0.16 apart
    monkeypatch.setattr("mnemotomy.methods.language.two_sided.TOLERANCE", 0.005)
    settings: dict[str, Any] = {"level": 4.0, "smoothing": 0.0, "repair": 0.0, "evaluations": 40}
    two_sided, plain = (TwoSided(damping=damping, **settings)(trained) for damping in (0.01, 1e6))
    assert mean_loss(trained, two_sided, FORGET) == pytest.approx(mean_loss(trained, plain, FORGET), abs=0.05)
    assert mean_loss(trained, two_sided, RETAIN) < 0.5 * mean_loss(trained, plain, RETAIN)
    assert mean_loss(trained, two_sided, RETAIN) < mean_loss(trained, plain, RETAIN) - 0.1


@pytest.mark.parametrize("factors", ["kfac", "ekfac"])
def test_edits_that_share_a_start_are_the_same_and_read_the_factors_once(
    trained: TextProblem, monkeypatch: pytest.MonkeyPatch, factors: Any
):
    base = TwoSided(level=3.0, factors=factors)
    methods = [replace(base, damping=damping, repair=repair) for damping, repair in ((0.01, 1.0), (0.05, 1.4))]
    alone = [state_of(method(trained)) for method in methods]
    reads: list[str] = []
    collect = Curvature.collect
    monkeypatch.setattr(Curvature, "collect", lambda *args: (reads.append("factors"), collect(*args))[1])
    shared = ascent.SharedStart()
    for method, state in zip([*methods, methods[0]], [*alone, alone[0]], strict=True):
        assert same_state(method(trained, shared), state)
    assert len(reads) == 1
    replace(base, smoothing=0.2)(trained, shared)  # other factors
    base(replace(trained, seed=1), shared)
    assert len(reads) == 3
    shared.release()
    assert not any(vars(shared).values())


def test_the_same_seed_gives_the_same_edit(trained: TextProblem):
    first, second = (TwoSided(level=3.0)(trained) for _ in range(2))
    assert same_state(first, state_of(second))


def test_only_the_chosen_layers_change(trained: TextProblem):
    edited = TwoSided(level=1.0, steps=1, sites=["up_proj"], layers=[1])(trained)
    before = state_of(trained.model)
    changed = [name for name, value in edited.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == ["model.layers.1.mlp.up_proj.weight"]


def test_layers_that_no_text_passes_through_are_left_alone(trained: TextProblem):
    model = copy.deepcopy(trained.model)
    model.model.layers[0].tower = torch.nn.Linear(4, 4)  # as the vision tower of a model that reads texts as well
    found = TwoSided(damping=0.05, layers=[0, 1])(replace(trained, model=model))
    assert same_state(found.model.layers[0].tower, state_of(model.model.layers[0].tower))
    assert mean_loss(trained, found, FORGET) > mean_loss(trained, model, FORGET) + 1.0
    with pytest.raises(SelectionError, match="depend on none"):
        TwoSided(sites=["tower"], layers=[0])(replace(trained, model=model))


def test_the_output_head_is_refused(trained: TextProblem):
    with pytest.raises(SelectionError, match="leave 'lm_head' out"):
        TwoSided(sites=["lm_head"])(trained)


@pytest.mark.parametrize(("blocks", "edited"), [(1, {0}), (2, {0, 1}), (3, {1, 2}), (6, {2, 3, 4, 5})])
def test_the_lowest_third_is_spared(tmp_path: Path, blocks: int, edited: set[int]):
    model = problem_of(tmp_path / "llama", lambda folder: save_llama(folder, num_hidden_layers=blocks)).model
    assert {site.layer for site in TwoSided().linear_sites(model).values()} == edited
    assert {site.layer for site in TwoSided(layers=[0]).linear_sites(model).values()} == {0}


def test_the_level_is_the_loss_of_questions_as_answers(trained: TextProblem):
    asked, untouched = (
        [example(one.turns[0].content, one.turns[0].content) for one in some] for some in (FORGET, RETAIN)
    )
    level = estimated_level(trained, 20)
    assert level.start == questions_level(trained, 20) == pytest.approx(mean_loss(trained, trained.model, asked))
    assert level.rise(trained.model) == 0.0
    edited = TwoSided(damping=0.1, evaluations=20)(trained)
    rise = mean_loss(trained, edited, untouched) - mean_loss(trained, trained.model, untouched)
    assert level.rise(edited) == pytest.approx(rise, abs=1e-4)
    assert mean_loss(trained, edited, FORGET) == pytest.approx(level.start + rise, rel=0.05)


def test_a_level_is_constant_without_retained_questions(trained: TextProblem):
    edited = TwoSided(level=2.0, steps=1)(trained)
    for silent in (TextExample.of_text("Rome lies in Italy .", ""), example("", "Italy")):
        level = estimated_level(replace(trained, retain=[silent]), 20)
        assert level.start == estimated_level(trained, 20).start
        assert level.rise(edited) == 0.0


def test_a_level_that_is_passed_already_is_refused_at_once(trained: TextProblem, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Curvature, "collect", lambda *_: pytest.fail("the expensive part began"))
    level = mean_loss(trained, trained.model, FORGET) / 10
    with pytest.raises(ConfigurationError, match=r"has passed the level of .* already, .*; give a higher level"):
        TwoSided(level=level)(trained)


def test_examples_at_the_level_are_left_alone(trained: TextProblem):
    model = copy.deepcopy(trained.model).requires_grad_(True)
    sites = TwoSided(layers=[0, 1]).linear_sites(model)
    rows = sequences(trained, [*FORGET, *RETAIN])
    found = [
        WeightedForgetLoss(torch.full((len(rows),), level), log_odds=True).gradient(
            model, sites, rows, trained.tokenizer
        )
        for level in (1e-9, 4.0)
    ]
    assert found[0].gap == found[0].tokens == 0.0
    assert all(not bool(gradient.any()) for gradient in found[0].gradients.values())
    assert found[1].gap > 1.0


def test_a_missed_level_gives_a_warning(trained: TextProblem):
    with pytest.warns(UserWarning, match="has reached .* of 1000.00 nats"):
        TwoSided(level=1000.0, steps=1, evaluations=1)(trained)


def test_weights_that_are_not_finite_are_an_error(trained: TextProblem):
    model = copy.deepcopy(trained.model)
    with torch.no_grad():
        model.model.norm.weight.fill_(math.nan)
    with pytest.raises(NonFiniteError, match="predictions are not finite"):
        TwoSided(level=1.0)(replace(trained, model=model))


def test_repairing_retains_more_at_the_same_level(trained: TextProblem):
    base = TwoSided(level=2.0, smoothing=0.0, evaluations=20)  # in the metric of the Fisher matrix itself
    repaired, not_repaired = (replace(base, repair=repair)(trained) for repair in (1.0, 0.0))
    assert mean_loss(trained, repaired, FORGET) == pytest.approx(mean_loss(trained, not_repaired, FORGET), abs=0.1)
    assert mean_loss(trained, repaired, RETAIN) < mean_loss(trained, not_repaired, RETAIN)


@pytest.mark.parametrize(
    "settings",
    [
        {"damping": -1.0},
        {"damping": math.nan},
        {"steps": 0},
        {"read": 0},
        {"level": 0.0},
        {"factors": "diagonal"},
        {"labels": "own"},
        {"repair": -1.0},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]):
    with pytest.raises(ConfigurationError):
        TwoSided(**settings)


def test_a_problem_that_does_not_fit_is_refused(tmp_path: Path):
    problem = problem_of(tmp_path, forget=[TextExample.of_text("Kyoto lies in Japan", "here")])
    with pytest.raises(ConfigurationError, match="level"):
        TwoSided()(problem)
    with pytest.raises(SelectionError):
        TwoSided(level=1.0, sites=["nothing"])(problem)
    with pytest.raises(SelectionError, match="linear"):
        TwoSided(level=1.0, sites=["embed_tokens"])(problem)
    with pytest.raises(ConceptError):
        problem_of(tmp_path, retain=[])


def test_few_retained_examples_are_all_read_in_random_order(trained: TextProblem, monkeypatch: pytest.MonkeyPatch):
    read: list[Any] = []
    collect = Curvature.collect

    def kept(self: Curvature, model: Any, sites: Any, examples: Any, words: Any) -> Any:
        read.append(examples)
        return collect(self, model, sites, examples, words)

    monkeypatch.setattr(Curvature, "collect", kept)
    for seed in (0, 1):
        TwoSided(read=4, steps=1)(replace(trained, seed=seed))
    TwoSided(steps=1)(trained)
    assert [len(examples) for examples in read] == [4, 4, len(RETAIN)]
    assert read[0] != read[1]


def test_a_model_that_breaks_at_every_length_is_an_error(trained: TextProblem, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ascent, "reach", lambda *_, **__: Found(1.0, math.inf))
    with pytest.raises(NonFiniteError, match="every length"):
        TwoSided()(trained)


def test_caching_the_lower_blocks_changes_nothing(trained: TextProblem, monkeypatch: pytest.MonkeyPatch):
    method = TwoSided(damping=0.1, layers=[1])
    remembered = method(trained)
    monkeypatch.setattr(two_sided, "cached_lower_blocks", lambda *_: contextlib.nullcontext())
    assert same_state(method(trained), state_of(remembered))
