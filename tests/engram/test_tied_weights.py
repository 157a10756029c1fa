"""Weights that two layers share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import QUIET, same_state, seq2seq, state_of, text_atlas, text_batch, tiny_llama
from torch import nn

import mnemotomy as mt
from mnemotomy.core.errors import TiedWeightsError
from mnemotomy.core.modules import tied_parameters, untie


@pytest.mark.parametrize("site", ["lm_head", "embed_tokens"])
def test_tied_weights_are_refused_or_untied(site: str, tmp_path: Path):
    from transformers import AutoModelForCausalLM

    model = tiny_llama(tie_word_embeddings=True)
    before = state_of(model)
    edit = mt.erase(text_atlas(model, [site, "q_proj"]), "a")
    for use in (edit.apply, edit.apply_, lambda m: edit.on(m).__enter__()):
        with pytest.raises(TiedWeightsError, match="is the same tensor as"):
            use(model)
    with pytest.raises(TiedWeightsError, match="neither 'refuse' nor 'untie'"):
        edit.apply(model, tied="x")
    edited = edit.apply(model, tied="untie")
    assert same_state(model, before)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.tie_word_embeddings
    other = {"lm_head": "model.embed_tokens.weight", "embed_tokens": "lm_head.weight"}[site]
    assert torch.equal(edited.state_dict()[other], before[other])
    assert not torch.equal(edited.lm_head.weight, edited.model.embed_tokens.weight)
    mt.save_model(edited, tmp_path / "edited")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "edited").eval()
    batch = text_batch(3)
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, edited(**batch).logits)
    with edit.on(model, tied="untie"), torch.no_grad():
        assert torch.equal(model(**batch).logits, edited(**batch).logits)
    assert same_state(model, before)
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_untied_encoder_decoders_load_as_they_were_saved(kind: str, tmp_path: Path):
    model = seq2seq(kind)
    data = {name: [text_batch(2, seed=i) | {"labels": torch.randint(1, 40, (2, 4))}] for i, name in enumerate("ab")}
    atlas = mt.Atlas(model, mt.collect(model, data, sites=["lm_head"], options=QUIET))
    edited = mt.erase(atlas, "a").apply(model, tied="untie")
    mt.save_model(edited, tmp_path / "edited")
    again = type(model).from_pretrained(tmp_path / "edited").eval()
    with torch.no_grad():
        assert torch.equal(again(**data["a"][0]).logits, edited(**data["a"][0]).logits)
        assert not torch.equal(model(**data["a"][0]).logits, edited(**data["a"][0]).logits)
    assert not tied_parameters(edited)


def test_a_module_in_two_places_is_one_reader():
    layer = nn.Linear(3, 3)
    assert tied_parameters(nn.Sequential(layer, nn.ReLU(), layer)) == {}
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    assert tied_parameters(tied) == dict.fromkeys(("0.weight", "1.weight"), ("0.weight", "1.weight"))
    untie(tied, "1.weight")
    assert tied_parameters(tied) == {}
    assert torch.equal(tied[0].weight, tied[1].weight)
