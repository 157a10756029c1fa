"""Training an adapter, and refused or interrupted calls, which leave the model unchanged."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers import tiny_llama
from tiny_metabolism import RETAIN, config, run, tokenizer_of_words

from mnemotomy.core.errors import ConfigurationError, DataError, ModelError
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.metabolism.objective import Objective
from mnemotomy.metabolism.rlcp import RLCP, Training
from mnemotomy.training.adapter import LoRA


@pytest.fixture
def tokenizer():
    return tokenizer_of_words()


def test_an_adapter_switched_off_is_the_reference(tokenizer):
    pytest.importorskip("peft", reason="peft is not installed; it comes with the extra train")
    training = Training(epochs=3, batch_size=3, learning_rate=1e-2, lora=LoRA(rank=2))
    off = config(training=training)
    copied = config(training=replace(training, reference="copy"))
    one, two = run(tokenizer, off), run(tokenizer, copied)
    for left, right in zip(one.steps, two.steps, strict=True):
        assert left["L_KL"] == pytest.approx(right["L_KL"], abs=1e-5)
    assert one.steps[-1]["L_KL"] > 0
    assert type(one.model).__name__ == "LlamaForCausalLM"
    assert not any("lora" in name for name, _ in one.model.named_parameters())


def test_after_an_edit_an_adapter_is_not_a_reference(tokenizer):
    pytest.importorskip("peft", reason="peft is not installed; it comes with the extra train")
    chosen = RLCP.from_engram(layer=1, training=Training(epochs=1, lora=LoRA(rank=2), reference="adapter"))
    with pytest.raises(ConfigurationError, match="precomputed"):
        run(tokenizer, chosen, retain=RETAIN)


def test_an_adapter_leaves_the_model_as_trainable_as_it_was(tokenizer):
    pytest.importorskip("peft", reason="peft is not installed; it comes with the extra train")
    model = tiny_llama()
    model.lm_head.weight.requires_grad_(False)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    chosen = config(training=Training(epochs=2, batch_size=3, learning_rate=1e-2, lora=LoRA(rank=2)))
    assert run(tokenizer, chosen, model).model is model
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    trained = fingerprint(model)
    run(tokenizer, config(), model)
    assert fingerprint(model) != trained
    with pytest.raises(ConfigurationError, match="no parameter of the model is trained"):
        run(tokenizer, config(), model.requires_grad_(False))


def test_the_seed_determines_the_adapter(tokenizer):
    pytest.importorskip("peft", reason="peft is not installed; it comes with the extra train")
    chosen = config(training=Training(epochs=2, batch_size=3, learning_rate=1e-2, lora=LoRA(rank=2)))
    found = []
    for seed in (1, 2):
        model = tiny_llama()
        torch.manual_seed(seed)
        found.append(fingerprint(run(tokenizer, chosen, model).model))
    assert found[0] == found[1]


@pytest.mark.parametrize("chosen", [RLCP.from_engram(layer=9), RLCP(layer=9, training=Training(lora=LoRA(rank=2)))])
def test_a_refused_call_leaves_the_model_as_it_was(tokenizer, chosen: RLCP):
    model = tiny_llama()
    before, names = fingerprint(model), list(model.state_dict())
    with pytest.raises(ModelError, match="layer 9 is out of range"):
        run(tokenizer, chosen, model, retain=RETAIN)
    assert (fingerprint(model), list(model.state_dict())) == (before, names)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_an_interrupted_adapter_is_removed_and_the_run_resumes(tokenizer, tmp_path, monkeypatch):
    pytest.importorskip("peft", reason="peft is not installed; it comes with the extra train")
    chosen = config(training=Training(epochs=4, batch_size=3, learning_rate=1e-2, save_every=1, lora=LoRA(rank=2)))
    whole = run(tokenizer, chosen, out=tmp_path / "whole")
    calls, forward, model = [], Objective.forward, tiny_llama()
    names = list(model.state_dict())

    def interrupted(self, step):
        calls.append(1)
        if len(calls) in (1, 4):
            raise KeyboardInterrupt
        return forward(self, step)

    monkeypatch.setattr(Objective, "forward", interrupted)
    for message in ("nothing was saved", "resume from"):
        with pytest.raises(KeyboardInterrupt, match=message):
            run(tokenizer, chosen, model, out=tmp_path / "part")
        assert list(model.state_dict()) == names
        assert not model.training
    assert fingerprint(run(tokenizer, chosen, model, out=tmp_path / "part").model) == fingerprint(whole.model)


def test_one_text_is_not_a_retain_set(tokenizer):
    with pytest.raises(DataError, match="retain must be a list of texts"):
        run(tokenizer, config(), tiny_llama(), retain="kyoto lies in japan")
