"""Probes, lens and familiarity on models that know, never knew, or cannot say what they know."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from audited import FORGET, HOLDOUT, RETAIN, case, learned
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from mnemotomy.audit.attack import Attack
from mnemotomy.audit.base import Finding
from mnemotomy.audit.inside import Familiarity, LinearProbe, LogitLens, TwoLayerProbe
from mnemotomy.audit.observing import states_at_prompts, states_before
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.modules import observing


def headless() -> nn.Module:
    """Knows everything, but its output head is exchanged."""
    model: Any = copy.deepcopy(learned()[0])
    weight = model.lm_head.weight.data
    model.lm_head.weight.data = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * weight.std()
    return model


def finding(attack: Attack, after: nn.Module, **changes: Any) -> Finding:
    asked, before = case(**changes), learned()[0]
    assert attack.lacks(asked) is None
    mark = fingerprint(after)
    found = attack.find({"before": attack.read(before, asked), "after": attack.read(after, asked)}, asked)
    assert fingerprint(after) == mark
    return found


@pytest.mark.parametrize("holdout", [HOLDOUT, ()], ids=["hold-out", "permuted answers"])
def test_a_linear_probe_reads_what_is_known_even_behind_another_head(holdout: Any):
    hidden = finding(LinearProbe(), headless(), holdout=holdout)
    ignorant = finding(LinearProbe(), learned(False)[0], holdout=holdout)
    assert hidden.trace is not None
    assert hidden.trace.value == 1.0
    assert hidden.means["after"].value > 0.85
    assert hidden.means["floor"].value < 0.6
    assert ignorant.trace is not None
    assert ignorant.trace.value < 0.2
    assert list(hidden.curves["after"]) == ["block 1", "block 2"]


def test_a_two_layer_probe_reads_the_same():
    assert finding(TwoLayerProbe(blocks=1), learned()[0]).means["after"].value > 0.7
    assert finding(TwoLayerProbe(blocks=1), learned(False)[0]).means["after"].value < 0.6


def test_the_lens_sees_through_the_head_only():
    hidden, ignorant = finding(LogitLens(), headless()), finding(LogitLens(), learned(False)[0])
    assert hidden.means["before"].value > 0.85
    assert hidden.means["after"].value < 0.2
    assert ignorant.trace is not None
    assert ignorant.trace.value < 0.3
    assert hidden.shown[0]["question"] == FORGET[0].question


def test_the_lens_at_the_last_block_is_the_model():
    model, asked = learned()[0], case()
    found = LogitLens().read(model, asked)
    ranks = []
    with observing(model):
        for probe in FORGET:
            words = asked.tokenizer(f"{probe.question} {probe.answer}", return_tensors="pt")["input_ids"][:, :-1]
            logits = model(input_ids=words[:, :-1]).logits[0, -1]
            ranks.append(int((logits > logits[words[0, -1]]).sum()) + 1)
    assert found.curve["block 2"] == pytest.approx(sum(1 / rank for rank in ranks) / len(ranks))


def test_what_is_forgotten_early_is_seen_in_the_blocks_before():
    """The last block alone is broken; the lens still finds the answer at the one before."""
    model: Any = copy.deepcopy(learned()[0])
    with torch.no_grad():
        for one in model.model.layers[1].parameters():
            one.mul_(-3.0)
    found = finding(LogitLens(), model)
    assert found.curves["after"]["block 2"] < found.curves["after"]["block 1"]
    assert found.means["after"].value == found.curves["after"]["block 1"]


def test_known_subjects_stand_further_from_unseen_ones_than_forgotten_ones():
    known, ignorant = (finding(Familiarity(), model).means for model in (learned()[0], learned(False)[0]))
    assert known["after"].value > ignorant["after"].value
    assert known["after"].value > known["floor"].value


def test_what_an_attack_lacks_is_said():
    alone = [replace(one, answer=f"{number}", paraphrases=()) for number, one in enumerate(FORGET)]
    assert "paraphrased_question" in (LinearProbe().lacks(case(forget=alone)) or "")
    phrased = [replace(one, answer=f"{number}") for number, one in enumerate(FORGET)]
    assert LinearProbe().lacks(case(forget=phrased)) is None  # read on other phrasings of the same questions
    assert "hold-out" in (Familiarity().lacks(case(holdout=())) or "")


def test_states_are_those_of_one_prompt_at_a_time():
    model, asked = learned()[0], case()
    probes = [*FORGET, *(one.asked(one.paraphrases[0]) for one in RETAIN)]
    found = states_at_prompts(model, asked, probes)
    alone = torch.cat([states_at_prompts(model, asked, [one]).blocks for one in probes], dim=1)
    torch.testing.assert_close(found.blocks, alone, atol=1e-5, rtol=1e-4)
    words = GPT2LMHeadModel(GPT2Config(vocab_size=len(asked.tokenizer), n_embd=8, n_layer=2, n_head=1, n_positions=64))
    assert LogitLens().read(words, asked).curve.keys() == {"block 1", "block 2"}
    assert states_at_prompts(words, asked, probes).blocks.shape == (2, len(probes), 8)


def test_states_before_several_tokens_are_those_before_each():
    model, asked = learned()[0], case()
    texts = [([1, 20, 30, 40, 50], [2, 4]), ([1, 20, 31], [2]), ([1, 20, 30, 40, 50], [4])]
    found = states_before(model, asked, texts)
    alone = [states_before(model, asked, [(ids, [place])]) for ids, places in texts for place in places]
    torch.testing.assert_close(found.blocks, torch.cat([one.blocks for one in alone], dim=1), atol=1e-5, rtol=1e-4)
    assert found.tokens.tolist() == [30, 50, 31, 50]


def test_a_prompt_is_read_once_however_many_answers_it_has():
    model, rows = copy.deepcopy(learned()[0]), list[int]()
    model.get_submodule("model.layers.0").register_forward_hook(lambda _module, inputs, _: rows.append(len(inputs[0])))
    several = [replace(one, answer=answer) for answer in ("Japan", "Italy") for one in FORGET[:3]]
    found = states_at_prompts(model, case(), several)
    assert sum(rows) == 3
    assert torch.equal(found.blocks[:, :3], found.blocks[:, 3:])
    assert not torch.equal(found.tokens[:3], found.tokens[3:])
