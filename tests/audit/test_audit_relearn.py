"""Relearning and changed weights, on a model that only hides what it knows and on one that never knew."""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from audited import FORGET, HOLDOUT, TEMPLATE, case, learned
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from mnemotomy.audit.base import Finding
from mnemotomy.audit.relearn import (
    BenignRelated,
    BenignUnrelated,
    Changed,
    Noise,
    Pruned,
    Quantised,
    RelearnFive,
    RelearnLoRA,
    RelearnOne,
    RelearnTwenty,
)
from mnemotomy.audit.unknown import unknown
from mnemotomy.audit.weights import Teaching, pruned, quantised, round_to_nearest, taught, with_noise
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.text.encoding import encode
from mnemotomy.text.probes import Probe

TEXTS = ["Kyoto is the capital of Japan .", "the country of Rome is Italy ."]


@functools.cache
def hidden() -> nn.Module:
    """Taught to answer 'Rome' to the forgotten questions, and no more than that."""
    model, words = learned()
    rows = [encode(replace(one, answer="Rome").example, words, one.template) for one in FORGET]
    return taught(model, rows, words, Teaching(8, 3e-3))


def finding(attack: Changed, after: nn.Module, **changes: Any) -> Finding:
    asked, before = case(texts=TEXTS, **changes), learned()[0]
    assert attack.lacks(asked) is None
    mark = fingerprint(after)
    found = attack.find({"before": attack.read(before, asked), "after": attack.read(after, asked)}, asked)
    assert fingerprint(after) == mark
    assert attack.read(after, asked).curve == found.curves["after"]
    return found


QUICK = [RelearnFive(learning_rate=3e-3), RelearnLoRA(learning_rate=1e-2), BenignRelated(learning_rate=3e-3)]


@pytest.mark.filterwarnings("error::FutureWarning")  # peft's would stand in the command's output
@pytest.mark.parametrize("attack", QUICK, ids=lambda one: one.name)
def test_relearning_brings_back_what_was_hidden_and_not_what_was_never_known(attack: Changed):
    back, never = finding(attack, hidden(), holdout=()), finding(attack, learned(False)[0], holdout=())
    curve = back.curves["after"]
    assert list(curve) == ["unchanged", "step 5", "step 10"]
    assert curve["unchanged"] < 0.5
    assert max(curve["step 5"], curve["step 10"]) > curve["unchanged"] + 0.2
    assert back.means["after"].value > curve["unchanged"] + 0.1  # read where the other half of the questions is best
    assert back.trace is not None
    assert back.trace.value > 0.5
    assert never.trace is not None
    assert never.trace.low < 0.1 < back.trace.low  # what a verdict goes by


@pytest.mark.parametrize("holdout", [(), HOLDOUT], ids=["swapped answers", "hold-out"])
@pytest.mark.parametrize("attack", QUICK[:2], ids=lambda one: one.name)
def test_what_was_never_known_is_not_relearned(attack: Changed, holdout: Sequence[Probe]):
    """Fifteen questions with three answers decide little (a trace of 0 ± 0.4), so the answers are dealt twenty times.

    What was hidden comes back by 0.3 and more above its floor.
    """
    model, gains = learned(False)[0], []
    for seed in range(20):
        answers = [one.answer for one in FORGET]
        random.Random(seed).shuffle(answers)
        dealt = [replace(one, answer=answer) for one, answer in zip(FORGET, answers, strict=True)]
        read = attack.read(model, case(forget=dealt, holdout=holdout))
        gains.append(sum(read.values) / len(read.values) - sum(read.floor) / len(read.floor))
    assert abs(sum(gains) / len(gains)) < 0.08


@pytest.mark.parametrize(
    "attack", [RelearnOne(), BenignUnrelated(), Quantised(torchao=False), Pruned(), Noise()], ids=lambda o: o.name
)
def test_what_was_never_known_does_not_come_from_changed_weights(attack: Changed):
    same, never = finding(attack, learned()[0], holdout=()), finding(attack, learned(False)[0], holdout=())
    assert same.trace is not None
    assert same.trace.value == pytest.approx(1.0)
    assert never.trace is not None
    assert never.trace.low < 0.1
    assert len(same.curves["after"]) == 3


def test_those_trained_on_are_not_asked():
    attack, asked = RelearnFive(), case()
    assert len(attack.lessons(asked)) == 5
    assert len(attack.questions(asked)) == 15
    shown = {tuple(row.input_ids) for row in attack.lessons(asked)}
    assert not shown & {
        tuple(encode(o.example, asked.tokenizer, o.template).input_ids) for o in attack.questions(asked)
    }
    assert "at least 40" in (RelearnTwenty().lacks(asked) or "")
    alike = [replace(one, answer="Japan") for one in FORGET]
    assert "hold-out" in (RelearnFive().lacks(case(forget=alike, holdout=())) or "")


def test_one_answer_to_everything_is_no_knowledge():
    """All forgotten answers are alike, so a little training has any model say it to everything."""
    alike = [replace(one, answer="Japan") for one in FORGET]
    asked = case(forget=alike)
    (others,) = unknown(asked, alike)
    assert {one.answer for one in others} == {"Japan"}
    assert [one.question for one in others] == [one.question for one in HOLDOUT]
    attack, model = RelearnFive(learning_rate=3e-3), learned(False)[0]
    found = attack.find({"before": attack.read(learned()[0], asked), "after": attack.read(model, asked)}, asked)
    assert found.means["after"].value > 0.8
    assert found.trace is None or found.trace.low < 0.1


def test_a_change_that_breaks_the_model_ends_the_attack():
    found = finding(RelearnOne(learning_rate=1e30), learned()[0])
    assert list(found.curves["after"]) == ["unchanged"]
    assert found.trace is not None


def test_narrow_weights_are_trained_in_float32():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(learned()[1]), n_embd=8, n_layer=1, n_head=1)).bfloat16()
    rows = [encode(FORGET[0].example, learned()[1], FORGET[0].template)]
    assert next(taught(model, rows, learned()[1], Teaching(1)).parameters()).dtype == torch.float32
    assert model.dtype == torch.bfloat16


def test_pruning_and_noise_are_as_strong_as_said():
    model: Any = learned()[0]
    weight = model.model.layers[0].mlp.up_proj.weight
    thin: Any = pruned(model, 0.3)
    left = thin.model.layers[0].mlp.up_proj.weight
    assert float((left == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert weight[left == 0].abs().max() <= weight[left != 0].abs().min()
    assert torch.equal(pruned(model, 0.0).model.layers[0].mlp.up_proj.weight, weight)  # type: ignore[union-attr]
    shaken: Any = with_noise(model, 0.1, 3)
    noise = shaken.model.layers[0].mlp.up_proj.weight - weight
    assert float(noise.detach().norm() / weight.detach().norm()) == pytest.approx(0.1, rel=0.1)
    assert torch.equal(shaken.lm_head.weight, model.lm_head.weight)


def test_rounding_to_nearest():
    weight = torch.tensor([[1.0, -0.52, 0.26, 0.0], [0.0, 0.0, 0.0, 0.0], [7.0, -7.0, 3.4, 0.6]])
    found = round_to_nearest(weight, 4)
    torch.testing.assert_close(found[2], torch.tensor([7.0, -7.0, 3.0, 1.0]))
    assert found[1].abs().max() == 0.0
    torch.testing.assert_close(found[0], torch.tensor([1.0, -4 / 7, 2 / 7, 0.0]))
    assert len(round_to_nearest(torch.randn(1, 4000), 4).unique()) == 15


def test_quantising_spares_embedding_and_head():
    model: Any = learned()[0]
    rounded: Any = quantised(model, 4)
    assert torch.equal(rounded.lm_head.weight, model.lm_head.weight)
    assert not torch.equal(rounded.model.layers[0].mlp.up_proj.weight, model.model.layers[0].mlp.up_proj.weight)


def test_quantising_rounds_the_transposed_layers_of_gpt2_too():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_positions=8, n_embd=16, n_layer=1, n_head=2))
    rounded: Any = quantised(model, 4)
    wide, before = (one.transformer.h[0].mlp.c_fc.weight for one in (rounded, model))
    torch.testing.assert_close(wide, round_to_nearest(before.T, 4).T)
    assert not torch.equal(wide, before)


def test_torchao_rounds_as_much_where_it_is_installed():
    pytest.importorskip("torchao")
    found = finding(Quantised(torchao=True), learned()[0], holdout=())
    assert found.curves["after"]["8 bits, torchao"] == found.curves["after"]["8 bits"]


def test_training_reads_in_bfloat16_and_keeps_its_weights():
    model, tokenizer = learned()
    model, seen = copy.deepcopy(model), set()
    model.get_submodule("model.layers.0.mlp.down_proj").register_forward_hook(
        lambda _module, _inputs, output: seen.add(output.dtype)
    )
    rows = [encode(one.example, tokenizer, TEMPLATE) for one in FORGET[:4]]
    found = taught(model, rows, tokenizer, Teaching(1, precision="bf16"))
    assert seen == {torch.bfloat16}
    assert {one.dtype for one in found.parameters()} == {torch.float32}
