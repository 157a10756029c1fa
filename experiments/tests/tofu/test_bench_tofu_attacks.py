"""Attacks on a model that has forgotten: relearning, rounding of weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_subject import MILD, save_bench, subject_in
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.models import load_model
from mnemotomy_bench.tofu import attacks
from mnemotomy_bench.tofu.attacks import Attacks, Relearning, attacked, quantise, relearn, round_to_nearest
from mnemotomy_bench.tofu.subject import Subject


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject_in(save_bench(tmp_path_factory.mktemp("attacks")))


def test_relearning_teaches_and_leaves_the_model(subject: Subject):
    before = subject.full.fingerprint
    taught = relearn(subject, subject.full.model, Relearning(2, 20, 1e-3), [0, 2])
    problem = subject.problem(0)
    shown = [problem.forget[place] for place in (0, 2)]

    def loss(model: nn.Module) -> float:
        from mnemotomy.methods.language.predictions import predict
        from mnemotomy.text.encoding import encode

        rows = [encode(one, problem.tokenizer, problem.template) for one in shown]
        return float(-predict(model, rows, problem.tokenizer).log_probabilities().mean().detach())

    assert loss(taught) < loss(subject.full.model)
    assert fingerprint(subject.full.model) == fingerprint(load_model(subject.pair.full))
    assert before == subject.full.fingerprint
    found = attacked(subject, subject.retain, MILD)
    assert found.keys() >= {"relearned_em", "bits8_memorization", "paraphrased_em_raw"}


@pytest.mark.parametrize("examples", [1, 3, 20])
def test_something_is_left_to_ask_after_relearning(subject: Subject, monkeypatch: pytest.MonkeyPatch, examples: int):
    taught: list[Any] = []
    monkeypatch.setattr(attacks, "relearn", lambda _s, model, _r, shown: taught.append(shown) or model)
    found = attacked(
        replace(subject, out=subject.out / str(examples)), subject.retain, Attacks(Relearning(examples), ())
    )
    assert taught[0] == {1: [0], 3: [0, 2], 20: [0, 2]}[examples]  # of four questions
    assert found["relearned_memorization"] == pytest.approx(1.0)


def test_rounding_to_nearest():
    weight = torch.tensor([[1.0, -0.52, 0.26, 0.0], [0.0, 0.0, 0.0, 0.0], [7.0, -7.0, 3.4, 0.6]])
    found = round_to_nearest(weight, 4)
    torch.testing.assert_close(found[2], torch.tensor([7.0, -7.0, 3.0, 1.0]))
    assert found[1].abs().max() == 0.0
    torch.testing.assert_close(found[0], torch.tensor([1.0, -4 / 7, 2 / 7, 0.0]))
    assert len(round_to_nearest(torch.randn(1, 4000), 4).unique()) == 15


def test_quantising_spares_embedding_and_head(subject: Subject):
    model: Any = subject.full.model
    rounded: Any = quantise(model, 4)
    assert torch.equal(rounded.lm_head.weight, model.lm_head.weight)
    assert not torch.equal(rounded.model.layers[0].mlp.up_proj.weight, model.model.layers[0].mlp.up_proj.weight)


def test_quantising_rounds_the_transposed_layers_of_gpt2_too():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_positions=8, n_embd=16, n_layer=1, n_head=2))
    rounded: Any = quantise(model, 4)
    wide, before = (one.transformer.h[0].mlp.c_fc.weight for one in (rounded, model))
    torch.testing.assert_close(wide, round_to_nearest(before.T, 4).T)
    assert not torch.equal(wide, before)
