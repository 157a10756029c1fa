"""Adapter folders of PEFT: merged into their base on loading, as the two compute side by side."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_language import save_llama, save_qwen

import mnemotomy as mt
from mnemotomy.core.errors import ModelError
from mnemotomy.core.models import load_config
from mnemotomy.core.sources import source_of

peft = pytest.importorskip("peft")
IDS = torch.tensor([[1, 20, 30, 40]])


def adapter(folder: Path, base: Path, named: str, **options: Any) -> torch.Tensor:
    """An adapter with random factors, whose base is ``named``; what base and adapter compute side by side."""
    options = {"target_modules": ["q_proj", "down_proj"], "r": 2, **options}
    config = peft.LoraConfig(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = peft.get_peft_model(mt.load_model(base), config)
    config.base_model_name_or_path = named  # peft writes where the base came from
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    wrapped.save_pretrained(folder)
    with torch.no_grad():
        return wrapped.eval()(input_ids=IDS).logits


def test_it_computes_what_base_and_adapter_do_and_says_so(tmp_path: Path) -> None:
    base = save_llama(tmp_path / "base")
    beside = adapter(tmp_path / "a", base, "../base")
    with pytest.warns(UserWarning, match="a is an adapter; it was merged into its base .*base"):
        model: Any = mt.load_model(tmp_path / "a")
    torch.testing.assert_close(model(input_ids=IDS).logits, beside, rtol=1e-4, atol=1e-5)
    assert set(model.state_dict()) == set(mt.load_model(base).state_dict())
    assert all(one.requires_grad for one in model.parameters())
    assert mt.fingerprint(model) != mt.fingerprint(mt.load_model(base))
    assert load_config(tmp_path / "a").hidden_size == 32
    assert mt.load_tokenizer(tmp_path / "a").get_vocab() == mt.load_tokenizer(base).get_vocab()
    mt.save_model(model, tmp_path / "saved")
    assert mt.fingerprint(mt.load_model(tmp_path / "saved")) == mt.fingerprint(model)
    said = source_of(tmp_path / "a")
    assert set(said["adapter"]) == {"adapter_config.json", "adapter_model.safetensors"}
    assert said["base"] == {"name": str(tmp_path / "a" / "../base")}


@pytest.mark.filterwarnings("ignore")
def test_a_tied_head_is_untied_where_the_adapter_changes_it(tmp_path: Path) -> None:
    base = save_qwen(tmp_path / "base")
    beside = adapter(tmp_path / "a", base, str(base), target_modules=["lm_head", "q_proj"])
    model: Any = mt.load_model(tmp_path / "a")
    torch.testing.assert_close(model(input_ids=IDS).logits, beside, rtol=1e-4, atol=1e-5)
    assert torch.equal(model.model.embed_tokens.weight, mt.load_model(base).model.embed_tokens.weight)
    mt.save_model(model, tmp_path / "saved")
    assert mt.fingerprint(mt.load_model(tmp_path / "saved")) == mt.fingerprint(model)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "patterns",
    [
        {"rank_pattern": {r"layers\.0\..*": 3, "q_proj": 1, "nothing": 9}, "alpha_pattern": {"down_proj": 5}},
        {"target_modules": r".*\.(q|down)_proj", "exclude_modules": r".*\.1\..*"},
        {"layers_to_transform": [1], "layers_pattern": "layers", "modules_to_save": ["lm_head"]},
    ],
)
def test_patterns_match_what_peft_matches(tmp_path: Path, patterns: dict[str, Any]) -> None:
    base = save_llama(tmp_path / "base")
    beside = adapter(tmp_path / "a", base, str(base), **patterns)
    model: Any = mt.load_model(tmp_path / "a")
    torch.testing.assert_close(model(input_ids=IDS).logits, beside, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_of_an_adapter(tmp_path: Path) -> None:
    base = save_llama(tmp_path / "base")
    adapter(tmp_path / "one", base, str(base))
    beside = adapter(tmp_path / "two", tmp_path / "one", "../one", target_modules=r".*\.(k_proj|up_proj)")
    torch.testing.assert_close(mt.load_model(tmp_path / "two")(input_ids=IDS).logits, beside, rtol=1e-4, atol=1e-5)
    changed(tmp_path / "one", base_model_name_or_path="../two")
    with pytest.raises(ModelError, match="is its own base"):
        mt.load_model(tmp_path / "two")


def changed(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_cannot_be_merged_is_refused_in_one_line(tmp_path: Path) -> None:
    base = save_llama(tmp_path / "base")
    adapter(tmp_path / "a", base, "../base")
    weights = load_file(tmp_path / "a" / "adapter_model.safetensors")

    def refused(message: str) -> None:
        with pytest.warns(), pytest.raises(ModelError, match=message) as caught:
            mt.load_model(tmp_path / "b")
        assert "\n" not in str(caught.value)
        shutil.rmtree(tmp_path / "b")

    def copied() -> Path:
        return Path(shutil.copytree(tmp_path / "a", tmp_path / "b"))

    save_file(dict(list(weights.items())[1:]), copied() / "adapter_model.safetensors")
    refused("lacks 1 weights")
    save_file(
        {**weights, "base_model.model.other.lora_A.weight": torch.ones(2, 2)}, copied() / "adapter_model.safetensors"
    )
    refused("has no place for 1 weights")
    (copied() / "adapter_model.safetensors").write_bytes(b"damaged")
    refused("cannot merge the adapter")
    changed(copied(), r=3)
    refused("cannot merge the adapter")
    changed(copied(), target_modules=["nowhere"])
    refused("cannot merge the adapter")
    (copied() / "adapter_model.safetensors").unlink()
    refused("save it as safetensors")


def test_a_base_that_is_not_there_is_said(tmp_path: Path) -> None:
    adapter(tmp_path / "a", save_llama(tmp_path / "base"), "../base")
    for named, message in ((None, "names no base"), ("./elsewhere", "elsewhere does not exist"), (3, "names no base")):
        changed(tmp_path / "a", base_model_name_or_path=named)
        with pytest.raises(ModelError, match=message):
            mt.load_model(tmp_path / "a")
    (tmp_path / "a" / "adapter_config.json").write_text("[")
    with pytest.raises(ModelError, match="is damaged"):
        mt.load_tokenizer(tmp_path / "a")
