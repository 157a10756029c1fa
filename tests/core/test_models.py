"""Fingerprints, loading and saving, ties, and observing a model without a trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import mlp, seq2seq, text_batch, tiny_llama
from tiny_language import save_qwen
from torch import nn

import mnemotomy as mt
from mnemotomy.core.errors import ModelError, TiedWeightsError
from mnemotomy.core.files import write_text
from mnemotomy.core.models import check_language_model
from mnemotomy.core.modules import blocks_by_name, device_of, observing, tied_parameters


def masked() -> Any:
    from transformers import BertConfig, BertForMaskedLM

    return BertForMaskedLM(BertConfig(vocab_size=90, hidden_size=8, num_hidden_layers=1, num_attention_heads=1))


class Extra(nn.Linear):
    """A layer that keeps something other than tensors in its state, as quantised ones do."""

    note: Any = "x"

    def get_extra_state(self) -> Any:
        return {"note": self.note}

    def set_extra_state(self, state: Any) -> None:
        self.note = state["note"]


def changed_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_fingerprint_is_of_the_numbers():
    one, two = mlp(3, 4, 2), mlp(3, 4, 2)
    assert mt.fingerprint(one) == mt.fingerprint(two) == mt.fingerprint(one.eval())
    assert mt.fingerprint(mlp(3, 4, 2).double()) != mt.fingerprint(one)
    assert mt.fingerprint(mlp(3, 4, 2, seed=1)) != mt.fingerprint(one)
    with torch.no_grad():
        two[2].bias[1] = torch.nextafter(two[2].bias[1], torch.tensor(9.0))
    assert mt.fingerprint(two) != mt.fingerprint(one)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_fingerprints_of_every_dtype(dtype: torch.dtype):
    layer = nn.Linear(3, 2).to(dtype)
    layer.register_buffer("flags", torch.tensor([True, False]))
    layer.register_buffer("scalar", torch.tensor(3))
    layer.register_buffer("empty", torch.zeros(0))
    assert len(mt.fingerprint(layer)) == 64


def test_what_is_no_tensor_belongs_to_the_fingerprint():
    layer = Extra(2, 2)
    before = mt.fingerprint(layer)
    layer.note = "y"
    assert mt.fingerprint(layer) != before


def test_observing_restores_each_modules_mode():
    model = nn.Sequential(nn.Dropout(), nn.Dropout())
    model[1].eval()
    with observing(model):
        assert not model[0].training
        assert not torch.is_grad_enabled()
    assert [module.training for module in model.modules()] == [True, True, False]
    assert torch.is_grad_enabled()


def test_save_and_load(tmp_path: Path):
    model = tiny_llama()
    mt.save_model(model, tmp_path / "m", extra={"note.md": "ä"})
    loaded: Any = mt.load_model(tmp_path / "m")
    assert type(loaded) is type(model)
    assert mt.fingerprint(loaded) == mt.fingerprint(model)
    assert (tmp_path / "m" / "note.md").read_text(encoding="utf-8") == "ä"
    assert next(mt.load_model(tmp_path / "m", dtype="bfloat16").parameters()).dtype == torch.bfloat16
    with torch.no_grad():
        assert torch.equal(loaded(**text_batch()).logits, model(**text_batch()).logits)


def test_what_cannot_be_loaded_or_saved(tmp_path: Path):
    with pytest.raises(ModelError, match="cannot load a model"):
        mt.load_model(tmp_path)
    with pytest.raises(ModelError, match="cannot load a tokenizer"):
        mt.load_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    for load in (mt.load_model, mt.load_tokenizer):
        with pytest.raises(ModelError, match="cannot load a"):
            load(tmp_path)
    with pytest.raises(ModelError, match="unknown dtype 'x'"):
        mt.load_model(tmp_path, dtype="x")
    with pytest.raises(ModelError, match="has no save_pretrained"):
        mt.save_model(mlp(2, 2), tmp_path / "m")
    assert device_of(nn.ReLU()) == torch.device("cpu")


def test_what_a_link_leads_to_is_written(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "elsewhere" / "f.txt")
    for content in ("new", "newer"):
        write_text(link, content)
        assert (tmp_path / "elsewhere" / "f.txt").read_text() == content
        assert link.is_symlink()


@pytest.mark.parametrize("make", [lambda: seq2seq("t5"), masked], ids=["encoder and decoder", "masked"])
def test_only_causal_language_models_predict_what_follows(tmp_path: Path, make: Any):
    words = mt.load_tokenizer(save_qwen(tmp_path / "made"))
    with pytest.raises(ModelError, match="take a causal language model"):
        check_language_model(make(), words)
    check_language_model(mt.load_model(tmp_path / "made"), words)


def test_a_tokenizer_splits_words_as_its_folder_says(tmp_path):
    from mnemotomy.demo.world import small_world, world_tokenizer

    save_qwen(tmp_path)  # for this type of model, transformers would bring its own way to split words
    made = world_tokenizer(small_world())
    made.save_pretrained(tmp_path)
    assert mt.load_tokenizer(tmp_path)("Kyoto is in Japan")["input_ids"] == made("Kyoto is in Japan")["input_ids"]


def test_blocks_are_the_longest_list_that_lies_in_no_other():
    def block(experts: int) -> nn.Module:
        return nn.ModuleDict({"experts": nn.ModuleList(nn.Linear(2, 2) for _ in range(experts))})

    model = nn.ModuleDict(
        {"few": nn.ModuleList([nn.Linear(2, 2)]), "layers": nn.ModuleList([block(5), nn.Linear(2, 2)])}
    )
    found = blocks_by_name(model)
    assert list(found) == ["layers.0", "layers.1"]
    assert found["layers.1"] is model["layers"][1]
    with pytest.raises(ModelError, match="has no list of blocks"):
        blocks_by_name(nn.Linear(2, 2))


@pytest.mark.parametrize("architectures", [None, [], ["FSDPLlamaForCausalLM"]])
def test_a_head_is_found_where_the_configuration_names_no_architecture(tmp_path: Path, architectures: Any):
    model = tiny_llama()
    model.save_pretrained(tmp_path / "model")
    changed_config(tmp_path / "model", architectures=architectures)
    assert mt.fingerprint(mt.load_model(tmp_path / "model")) == mt.fingerprint(model)
    model.model.save_pretrained(tmp_path / "body")
    changed_config(tmp_path / "body", architectures=architectures)
    assert mt.fingerprint(mt.load_model(tmp_path / "body")) == mt.fingerprint(model.model)


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"num_hidden_layers": 1}, "model.layers.1.input_layernorm.weight"),
        ({"architectures": ["LlamaModel"]}, "lm_head.weight"),
    ],
)
def test_weights_without_a_place_are_refused(tmp_path: Path, changes: dict[str, Any], first: str):
    tiny_llama().save_pretrained(tmp_path / "model")
    changed_config(tmp_path / "model", **changes)
    with pytest.raises(ModelError, match=f"has no place for, the first '{first}'.*config.json"):
        mt.load_model(tmp_path / "model")


def test_code_of_a_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tiny_llama().save_pretrained(tmp_path / "model")
    ran = tmp_path / "ran"
    (tmp_path / "model" / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    changed_config(tmp_path / "model", model_type="own", auto_map={"AutoConfig": "own.Config"})
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(ModelError, match="cannot load a model"):
        mt.load_model(tmp_path / "model")
    assert not ran.exists()


@pytest.mark.parametrize("share", [lambda weight: nn.Parameter(weight.detach()), lambda weight: weight])
def test_weights_are_tied_by_their_memory(share: Any):
    model = tiny_llama()
    assert not tied_parameters(model)
    model.lm_head.weight = share(model.model.embed_tokens.weight)
    both = ("model.embed_tokens.weight", "lm_head.weight")
    assert tied_parameters(model) == dict.fromkeys(both, both)
    batch = text_batch()
    moments = mt.collect(model, {"a": [batch], "b": [batch]}, sites=["lm_head"])
    with pytest.raises(TiedWeightsError, match="is the same tensor as"):
        mt.erase(mt.Atlas(model, moments), "a").apply(model)


def test_slices_of_one_tensor_are_not_tied():
    model, whole = mlp(4, 4, 4), torch.randn(8, 4)
    model[0].weight, model[2].weight = nn.Parameter(whole[:4]), nn.Parameter(whole[4:])
    assert not tied_parameters(model)
    model[2].weight = nn.Parameter(whole[3:7])
    assert set(tied_parameters(model)) == {"0.weight", "2.weight"}


@pytest.mark.parametrize(
    "changes",
    [
        {"architectures": ["pipeline"], "num_hidden_layers": "2"},
        {"num_attention_heads": 0},
        {"hidden_size": None},
        {"dtype": "nope"},
        {"quantization_config": 3},
    ],
)
def test_a_wrong_configuration_is_an_error_of_ours(tmp_path: Path, changes: dict[str, Any]):
    tiny_llama().save_pretrained(tmp_path / "model")
    changed_config(tmp_path / "model", **changes)
    with pytest.raises(ModelError, match="cannot load a model from"):
        mt.load_model(tmp_path / "model")


def test_an_architecture_that_is_not_a_model_is_not_called(tmp_path: Path):
    model = tiny_llama()
    model.save_pretrained(tmp_path / "model")
    for named in ("pipeline", "Trainer", "utils", "LlamaConfig", "__version__"):
        changed_config(tmp_path / "model", architectures=[named])
        assert mt.fingerprint(mt.load_model(tmp_path / "model")) == mt.fingerprint(model)
