"""Closed-form unlearning of language models, against explicit matrices."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import relative, same_state, state_of
from tiny_problem import CUT, DOWN, example, moments, pinv, tiny_problem

from mnemotomy.core.errors import ConfigurationError, DataError, SelectionError
from mnemotomy.core.modules import tied_parameters
from mnemotomy.engram.filters import Steep
from mnemotomy.engram.sites import all_sites, select_sites
from mnemotomy.methods.language.collecting import Collecting, some
from mnemotomy.methods.language.delta_sequential import DeltaSequential
from mnemotomy.methods.language.engram import (
    EngramFiltered,
    EngramProjector,
    EngramSteep,
    EngramUniform,
    EngramWeightNorm,
)
from mnemotomy.methods.language.engram_automatic import EngramAutomatic, SteepChoice, swapped
from mnemotomy.methods.language.engram_layerwise import EngramLayerwise
from mnemotomy.methods.language.problem import TextProblem, sequences
from mnemotomy.methods.language.task_arithmetic import TaskArithmetic
from mnemotomy.methods.language.uce import UCE
from mnemotomy.text.records import TextExample

HEAD = "lm_head"
WITH_HEAD = ("all-linear", "output-head")


@pytest.fixture
def problem() -> TextProblem:
    return tiny_problem()


@pytest.mark.parametrize("positions", ["answer", "predicting", "all"])
def test_positions_against_explicit_sums(problem: TextProblem, positions: Any) -> None:
    found = Collecting(positions=positions, batch_size=3, sites=WITH_HEAD).moments(problem.model, problem)
    for name, sums in moments(problem, problem.model, [DOWN, HEAD], positions=positions).items():
        for concept, expected in zip(("forget", "retain"), sums, strict=True):
            assert relative(found.moment(name, concept).second, expected) < 1e-5


def test_uniform_against_explicit_matrices(problem: TextProblem) -> None:
    before = state_of(problem.model)
    edited = EngramUniform(0.7, sites=WITH_HEAD)(problem)
    assert same_state(problem.model, before)
    assert not tied_parameters(edited)
    assert torch.equal(edited.get_input_embeddings().weight, problem.model.get_input_embeddings().weight)
    for name, (forget, retain) in moments(problem, problem.model, [DOWN, HEAD]).items():
        weight = all_sites(problem.model)[name].weight().double()
        expected = weight - 0.7 * weight @ forget @ pinv(forget + retain)
        assert relative(all_sites(edited)[name].weight(), expected) < 1e-4
    assert not edited.training


def test_weight_norm_strengths(problem: TextProblem) -> None:
    method = EngramWeightNorm(sites=WITH_HEAD)
    edited = method(problem)
    ratios = method.atlas(problem.model, method.moments(problem.model, problem))["forget"].ratios()
    forget, retain = moments(problem, problem.model, [DOWN])[DOWN]
    weight = all_sites(problem.model)[DOWN].weight().double()
    expected = weight - ratios[DOWN] / max(ratios.values()) * weight @ forget @ pinv(forget + retain)
    assert relative(all_sites(edited)[DOWN].weight(), expected) < 1e-4
    assert len(ratios) == 15  # seven projections in two blocks, and the head


def test_rounds_collect_again(problem: TextProblem) -> None:
    twice = EngramUniform(0.5, rounds=2)(problem)
    once = EngramUniform(0.5)(problem)
    again = EngramUniform(0.5)(TextProblem(once, problem.tokenizer, problem.forget, problem.retain))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(twice.parameters(), again.parameters(), strict=True))


def test_kinds_and_layers_alone_change(problem: TextProblem) -> None:
    edited = EngramUniform(sites=["q_proj", "gate_proj"], layers=[1])(problem)
    changed = {
        name
        for (name, new), old in zip(edited.named_parameters(), problem.model.parameters(), strict=True)
        if not torch.equal(new, old)
    }
    assert changed == {"model.layers.1.self_attn.q_proj.weight", "model.layers.1.mlp.gate_proj.weight"}
    assert tied_parameters(edited)  # nothing tied was edited


def test_embedding_rows(problem: TextProblem) -> None:
    edited = EngramUniform(1.0, sites=[*WITH_HEAD, "input-embedding"])(problem)
    rows = edited.get_input_embeddings().weight
    old = problem.model.get_input_embeddings().weight
    japan, rome = (problem.tokenizer.convert_tokens_to_ids(word) for word in ("Japan", "Rome"))
    assert torch.allclose(rows[japan], torch.zeros(16), atol=1e-6)  # only the forget set has it in an answer
    assert torch.equal(rows[rome], old[rome])


def test_filters(problem: TextProblem) -> None:
    forget, retain = moments(problem, problem.model, [DOWN])[DOWN]
    tokens = [sum(label != -100 for row in sequences(problem, s) for label in row.marked("answer"))
              for s in (problem.forget, problem.retain)]  # fmt: skip
    share = tokens[0] / sum(tokens)
    values, vectors = torch.linalg.eigh(forget + retain)
    kept = values > CUT * values[-1]
    root = vectors[:, kept] * values[kept].sqrt()
    inverse = (vectors[:, kept] / values[kept].sqrt()).mT
    mu, basis = torch.linalg.eigh(inverse @ forget @ inverse.mT)
    weight = all_sites(problem.model)[DOWN].weight().double()
    cases = [
        (EngramProjector(0.8, excess=0.3), lambda mu: (mu > share + 0.3 * (1 - share)).double()),
        (EngramSteep(0.8, times=2.0, exponent=3.0), lambda mu: mu**3 / (mu**3 + (2 * share) ** 3)),
        (EngramFiltered(0.8, by="power"), lambda mu: mu**2),
    ]
    for method, response in cases:
        operator = root @ (basis * response(mu.clamp(0, 1))) @ basis.mT @ inverse
        edited = method(problem)
        assert relative(all_sites(edited)[DOWN].weight(), weight - 0.8 * weight @ operator) < 1e-3, method


def test_steep_at_its_threshold() -> None:
    found = Steep(2.0, 4.0).response(torch.tensor([0.0, 0.2, 1.0]), 0.1)
    assert torch.allclose(found, torch.tensor([0.0, 0.5, 625 / 626]))


@pytest.mark.parametrize("unit", ["sum", "mean"])
def test_uce_against_explicit_inverse(problem: TextProblem, unit: Any) -> None:
    edited = UCE(0.3, unit=unit, sites=WITH_HEAD)(problem)
    rows = [row for s in (problem.forget, problem.retain) for row in sequences(problem, s)]
    tokens = sum(label != -100 for row in rows for label in row.marked("answer"))
    damping = 0.3 * (tokens if unit == "mean" else 1)
    for name, (forget, retain) in moments(problem, problem.model, [DOWN, HEAD]).items():
        weight = all_sites(problem.model)[name].weight().double()
        inverse = torch.linalg.inv(forget + retain + damping * torch.eye(len(forget)))
        assert relative(all_sites(edited)[name].weight(), weight - weight @ forget @ inverse) < 1e-3


def test_layerwise_is_one_stage_after_another(problem: TextProblem) -> None:
    edited = EngramLayerwise(0.6, sites=WITH_HEAD)(problem)
    model = copy.deepcopy(problem.model)
    for layer in range(2):
        for kinds in (["q_proj", "k_proj", "v_proj"], ["o_proj"], ["gate_proj", "up_proj"], ["down_proj"]):
            step = TextProblem(model, problem.tokenizer, problem.forget, problem.retain)
            model = EngramUniform(0.6, sites=kinds, layers=[layer])(step)
    model = EngramUniform(0.6, sites=["lm_head"])(TextProblem(model, problem.tokenizer, problem.forget, problem.retain))
    for (name, found), expected in zip(edited.named_parameters(), model.parameters(), strict=True):
        assert relative(found.detach(), expected.detach()) < 1e-3, name


def test_reads_part_of_the_retain_set(problem: TextProblem) -> None:
    assert len(some(problem.retain, 2, 0)) == 2
    assert some(problem.retain, 2, 0) == some(problem.retain, 2, 0)
    found = Collecting(read=2).moments(problem.model, problem)
    assert found.origin.examples == {"forget": 2, "retain": 2}


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: EngramUniform(positions="answers"), ConfigurationError),  # type: ignore[arg-type]
        (lambda: EngramUniform(read=0), ConfigurationError),
        (lambda: EngramUniform(rounds=0), ConfigurationError),
        (lambda: EngramUniform(cut=1.0), DataError),
        (lambda: EngramProjector(excess=1.0), ConfigurationError),
        (lambda: EngramSteep(times=0.0), ConfigurationError),
        (lambda: EngramFiltered(by="ridge"), ConfigurationError),
        (lambda: UCE(damping=-1.0), DataError),
        (lambda: UCE(unit="row"), ConfigurationError),  # type: ignore[arg-type]
        (lambda: DeltaSequential(targets="none"), ConfigurationError),  # type: ignore[arg-type]
        (lambda: TaskArithmetic(strength=0.0), ConfigurationError),
    ],
)
def test_refuses(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


def test_the_head_is_left_alone_by_default(problem: TextProblem) -> None:
    edited = EngramUniform(0.7)(problem)
    assert tied_parameters(edited)
    assert torch.equal(edited.get_output_embeddings().weight, problem.model.get_output_embeddings().weight)
    assert Collecting().site_names(problem.model) == list(select_sites(problem.model, "all-linear"))


def test_layer_by_layer_refuses_embeddings(problem: TextProblem) -> None:
    for kind in (EngramLayerwise, DeltaSequential):
        with pytest.raises(ConfigurationError, match=r"leave the embedding 'model\.embed_tokens' out"):
            kind(sites=["all-linear", "input-embedding"])(problem)


def test_refuses_unknown_places(problem: TextProblem) -> None:
    with pytest.raises(SelectionError, match="gate_proj"):
        Collecting(sites=["gate"]).site_names(problem.model)
    with pytest.raises(SelectionError, match="block 5"):
        Collecting(layers=[5]).site_names(problem.model)


def test_swaps_answers_far_apart() -> None:
    asked = [example(f"question {n}", f"answer {n}") for n in range(5)]
    found = swapped([*asked, TextExample.of_text("a text", "here")])
    assert [one.turns[1].content for one in found] == ["answer 2", "answer 3", "answer 4", "answer 0", "answer 1"]
    assert [one.turns[0].content for one in found] == [f"question {n}" for n in range(5)]
    assert swapped(asked[:1]) == []


def test_score_is_a_harmonic_mean() -> None:
    assert SteepChoice(2.0, 1.0, 0.5, 1.0).score == pytest.approx(2 / 3)
    assert SteepChoice(2.0, 1.0, -0.1, 1.0).score == 0.0


def test_automatic_takes_the_best_of_what_it_tries(problem: TextProblem) -> None:
    method = EngramAutomatic(times=(1.0, 2.0), strengths=(0.5, 1.0), held_out=2)
    before = state_of(problem.model)
    choice = method.choose(problem)
    held = {one.turns[0].content for one in some(problem.retain, 2, problem.seed)}
    read = replace(problem, retain=[one for one in problem.retain if one.turns[0].content not in held])
    same = EngramSteep(choice.strength, times=choice.times)(read)
    edited = method(problem)
    assert same_state(problem.model, before)
    assert choice.times in method.times
    assert choice.strength in method.strengths
    if choice.score > 0:  # else nothing is edited
        for left, right in zip(edited.parameters(), same.parameters(), strict=True):
            assert relative(left.detach(), right.detach()) < 1e-5
    with pytest.raises(ConfigurationError, match="hold out fewer"):
        EngramAutomatic(held_out=6)(problem)
