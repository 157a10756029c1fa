"""What was learned since: delta weights, naive and layer by layer, and task arithmetic."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import relative, same_state, state_of
from tiny_language import tokenizer
from tiny_problem import DOWN, llama, moments, pinv, tiny_problem
from tokenizers import processors
from torch import Tensor
from transformers import OPTConfig, OPTForCausalLM

from mnemotomy.core.errors import ConfigurationError, SelectionError, TrainingError
from mnemotomy.engram.sites import all_sites
from mnemotomy.methods.language.delta import DeltaWeights
from mnemotomy.methods.language.delta_sequential import DeltaSequential, PairedMoment
from mnemotomy.methods.language.loop import Descent
from mnemotomy.methods.language.problem import TextProblem, sequences
from mnemotomy.methods.language.task_arithmetic import TaskArithmetic
from mnemotomy.text.batches import padded
from mnemotomy.text.records import TextExample
from mnemotomy.training.checkpoint import CHECKPOINT, State, progress_of


@pytest.fixture
def problem() -> TextProblem:
    return tiny_problem()


def test_naive_delta(problem: TextProblem) -> None:
    edited = DeltaWeights(0.9)(problem)
    forget, retain = moments(problem, problem.model, [DOWN])[DOWN]
    weight, before = (all_sites(model)[DOWN].weight().double() for model in (problem.model, problem.pretrained))
    expected = weight - 0.9 * (weight - before) @ forget @ pinv(forget + retain)
    assert relative(all_sites(edited)[DOWN].weight(), expected) < 1e-4


def test_sequential_delta_solves_both_sets() -> None:
    """Where both sets' inputs are independent, the new weight does to each exactly what it should."""
    generator = torch.Generator().manual_seed(0)
    old, new = (torch.randn(3, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    forget, other = (torch.randn(2, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    retain = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    pair = PairedMoment(forget.mT @ forget, other.mT @ forget)
    kept = PairedMoment(retain.mT @ retain, retain.mT @ retain)
    edited = new + DeltaSequential(cut=1e-12).delta(new, old, pair, kept).double()
    assert torch.allclose(edited @ forget.mT, old @ other.mT, atol=1e-4)
    assert torch.allclose(edited @ retain.mT, new @ retain.mT, atol=1e-4)


@pytest.mark.parametrize("restore", [False, True])
def test_sequential_delta_makes_the_model_answer_as_before(restore: bool) -> None:
    """As long as there are fewer tokens than dimensions, every layer can do as the pretrained one on X⁺, for whatever
    it reads: the edited model then is the pretrained one on the forget set, and itself on the retained one."""
    model = llama(0, hidden_size=64, intermediate_size=96)
    pretrained = copy.deepcopy(model)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in pretrained.named_parameters():
            if "proj" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    forget = TextExample.of_text("Kyoto,Japan", "here")
    retain = TextExample.of_text("Rome-Italy.Paris;France", "here")
    splitter = tokenizer()  # no token is in both sets, which have different aims for it
    splitter.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    problem = TextProblem(model, splitter, [forget], [retain], pretrained=pretrained)
    edited = DeltaSequential(positions="all", restore=restore)(problem)

    def logits(of: Any, one: TextExample) -> Tensor:
        batch = padded(sequences(problem, [one]), problem.tokenizer)
        batch.pop("labels")
        with torch.no_grad():
            return of(**batch).logits

    assert relative(logits(pretrained, forget), logits(model, forget)) > 0.2
    assert relative(logits(edited, forget), logits(pretrained, forget)) < 1e-2
    assert relative(logits(edited, retain), logits(model, retain)) < 1e-2


def test_sequential_delta_on_the_prefix_is_the_naive_one_at_first(problem: TextProblem) -> None:
    kinds, layers = ["q_proj", "k_proj"], [0]
    found = DeltaSequential(0.5, targets="prefix", sites=kinds, layers=layers)(problem)
    expected = DeltaWeights(0.5, sites=kinds, layers=layers)(problem)
    for left, right in zip(found.parameters(), expected.parameters(), strict=True):
        assert relative(left.detach(), right.detach()) < 1e-4


def test_task_arithmetic(problem: TextProblem) -> None:
    method = TaskArithmetic(2.0, training=Descent(learning_rate=1e-3, epochs=2, batch_size=2))
    before = state_of(problem.pretrained)
    vector = method.vector(problem)
    edited = method(problem)
    assert same_state(problem.pretrained, before)
    expected = all_sites(problem.model)[DOWN].weight() - 2.0 * vector[DOWN]
    assert torch.allclose(all_sites(edited)[DOWN].weight(), expected, atol=1e-6)
    assert float(vector[DOWN].norm()) > 0


def test_an_interrupted_task_arithmetic_resumes(
    problem: TextProblem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = TaskArithmetic(2.0, training=Descent(learning_rate=1e-3, epochs=3, batch_size=2))
    whole, save = method(problem), State.save

    def stopped(*given: Any) -> None:
        save(*given)
        raise KeyboardInterrupt

    resumable = replace(problem, folder=tmp_path)
    monkeypatch.setattr(State, "save", stopped)
    with pytest.raises(KeyboardInterrupt, match="checkpoint"):
        method(resumable)
    monkeypatch.undo()
    assert progress_of(tmp_path / CHECKPOINT).epochs == 1
    with pytest.raises(TrainingError, match="another configuration"):
        TaskArithmetic(2.0)(resumable)
    with pytest.raises(TrainingError, match="another configuration"):
        method(replace(resumable, pretrained=problem.model))
    assert same_state(method(resumable), state_of(whole))
    assert [path.name for path in tmp_path.iterdir()] == ["steps.jsonl"]


@pytest.mark.parametrize("method", [DeltaWeights(), DeltaSequential(), TaskArithmetic()])
def test_needs_a_pretrained_model(problem: TextProblem, method: Any) -> None:
    without = TextProblem(problem.model, problem.tokenizer, problem.forget, problem.retain)
    with pytest.raises(ConfigurationError, match="pretrained"):
        method(without)


@pytest.mark.parametrize("method", [DeltaWeights(), DeltaSequential(), TaskArithmetic()])
def test_a_pretrained_model_of_another_shape_is_refused(problem: TextProblem, method: Any) -> None:
    deeper = copy.deepcopy(problem.pretrained)
    deeper.model.layers.append(copy.deepcopy(deeper.model.layers[0]))
    with pytest.raises(SelectionError, match="the pretrained model has other weights"):
        method(replace(problem, pretrained=deeper))


def test_layers_outside_the_blocks_are_edited_each_from_its_own_input() -> None:
    """OPT-350m has projections before and behind its blocks, of other widths than the output head's."""
    torch.manual_seed(0)
    words = tokenizer()
    sizes = {"hidden_size": 16, "word_embed_proj_dim": 8, "ffn_dim": 24, "num_hidden_layers": 2}
    config = OPTConfig(
        vocab_size=len(words), num_attention_heads=4, max_position_embeddings=128, tie_word_embeddings=False,
        do_layer_norm_before=False, **sizes,
    )  # fmt: skip
    asked = tiny_problem()
    model, before = (OPTForCausalLM(config).eval() for _ in range(2))
    asked = TextProblem(model, words, asked.forget, asked.retain, pretrained=before)
    edited = all_sites(DeltaSequential(sites=["all-linear", "output-head"])(asked))
    for name in ("lm_head", "model.decoder.project_in", "model.decoder.project_out"):
        assert relative(edited[name].weight(), all_sites(model)[name].weight()) > 1e-3
