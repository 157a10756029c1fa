"""Models in .gguf files: loaded, edited, saved as others are, and refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import call, fails
from tiny_gguf import write_gguf
from tiny_language import concept_files, save_llama

import mnemotomy as mt
from mnemotomy.core.errors import ModelError
from mnemotomy.core.keys import file_digest
from mnemotomy.core.models import load_config
from mnemotomy.core.sources import locate_model

PROMPT = "Kyoto lies in"


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Any, Any]:
    folder = save_llama(tmp_path / "whole")
    return mt.load_model(folder), mt.load_tokenizer(folder)


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    ids = torch.tensor([tokenizer(PROMPT, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        return model(input_ids=ids).logits


def test_a_file_is_the_model_that_was_written(tmp_path: Path, whole: tuple[Any, Any]) -> None:
    path = write_gguf(tmp_path / "m.gguf", *whole)
    model, tokenizer = mt.load_model(path), mt.load_tokenizer(path)
    torch.testing.assert_close(logits(model, tokenizer), logits(*whole), rtol=1e-4, atol=1e-5)
    read, written = (one(PROMPT, add_special_tokens=False)["input_ids"] for one in (tokenizer, whole[1]))
    assert read == written
    assert tokenizer.chat_template == whole[1].chat_template
    assert load_config(path).hidden_size == 32
    assert not hasattr(model.config, "quantization_config")
    assert all(one.requires_grad for one in model.parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_packed_file_is_unpacked_and_saved_as_safetensors(tmp_path: Path, whole: tuple[Any, Any], dtype: str) -> None:
    path = write_gguf(tmp_path / "m.gguf", *whole, packed=True)
    model, tokenizer = mt.load_model(path, dtype=dtype), mt.load_tokenizer(path)
    assert {one.dtype for one in model.parameters()} == {getattr(torch, dtype)}
    mt.save_model(model, tmp_path / "saved", tokenizer=tokenizer)
    assert (tmp_path / "saved" / "model.safetensors").is_file()
    assert mt.fingerprint(mt.load_model(tmp_path / "saved", dtype=dtype)) == mt.fingerprint(model)
    again = mt.load_tokenizer(tmp_path / "saved")
    assert again(PROMPT)["input_ids"] == tokenizer(PROMPT)["input_ids"]
    assert again.eos_token_id == tokenizer.eos_token_id


def test_a_head_that_repeats_the_embedding_is_tied(tmp_path: Path, whole: tuple[Any, Any]) -> None:
    model, tokenizer = whole
    assert not mt.load_model(write_gguf(tmp_path / "own.gguf", model, tokenizer)).config.tie_word_embeddings
    with torch.no_grad():
        model.lm_head.weight.copy_(model.model.embed_tokens.weight)
    for name in ("twice.gguf", "once.gguf"):  # the head again, and no head at all
        model.config.tie_word_embeddings = name == "once.gguf"
        found: Any = mt.load_model(write_gguf(tmp_path / name, model, tokenizer))
        assert found.config.tie_word_embeddings
        assert found.lm_head.weight is found.model.embed_tokens.weight


def test_a_recipe_is_applied_to_a_file_and_names_it(tmp_path: Path, whole: tuple[Any, Any]) -> None:
    path = write_gguf(tmp_path / "m.gguf", *whole)
    files = concept_files(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"model: m.gguf\nconcepts: {{kyoto: [{files['kyoto'].name}]}}\nreference: {files['reference'].name}\n"
        "force: true\n"
    )
    result = call("apply", str(recipe), str(tmp_path / "out"))
    assert result.exit_code == 0, result.stderr
    record = json.loads((tmp_path / "out" / "mnemotomy.json").read_text())
    assert record["model"]["name"] == "m.gguf"
    assert record["model"]["sha256"] == file_digest(path)
    assert isinstance(mt.load_model(tmp_path / "out"), torch.nn.Module)


@pytest.mark.parametrize("load", [mt.load_model, mt.load_tokenizer], ids=["model", "tokenizer"])
def test_damage_is_said_in_one_line(tmp_path: Path, whole: tuple[Any, Any], load: Any) -> None:
    path = write_gguf(tmp_path / "m.gguf", *whole)
    content = path.read_bytes()
    for size in (200, 4000, len(content) - 2000):
        path.write_bytes(content[:size])
        if size > len(content) // 2 and load is mt.load_tokenizer:
            continue  # the words may be whole
        with pytest.raises(ModelError, match=r"cannot load a .* from .*m.gguf") as caught:
            load(path)
        assert "\n" not in str(caught.value)


def test_a_missing_or_foreign_file_is_one_line(tmp_path: Path) -> None:
    fails(call("chat", str(tmp_path / "none.gguf")), "none.gguf does not exist")
    (tmp_path / "text.gguf").write_text("not a model")
    with pytest.raises(ModelError, match="is not a GGUF file"):
        mt.load_model(tmp_path / "text.gguf")
    with pytest.raises(ModelError, match=r"the model file .* does not exist"):
        locate_model("org/none.gguf")


def test_without_the_package_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + bytes(20))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for load in (mt.load_model, mt.load_tokenizer):
        with pytest.raises(ModelError, match="pip install gguf"):
            load(path)
