"""What would spoil a model, train the wrong one or lose a file is refused before it happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import QUIET, mlp, randn, same_state, state_of
from safetensors.torch import load_file, save_file
from tiny_language import save_llama, tokenizer
from transformers import AutoModel

import mnemotomy as mt
from mnemotomy.core.errors import ConfigurationError, DataError, ModelError, NonFiniteError
from mnemotomy.core.files import check_replaceable
from mnemotomy.core.models import check_language_model
from mnemotomy.metabolism.probe import hidden_states, resolve_layer
from mnemotomy.metabolism.rlcp import RLCP, Training
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.report.figures import accuracy_heatmap
from mnemotomy.text.records import TextExample
from mnemotomy.training.adapter import LoRA, with_adapter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_llama(tmp_path / "model")


def change_weights(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def test_a_checkpoint_without_some_weights_is_not_filled_at_random(folder: Path):
    change_weights(folder, lambda weights: {n: w for n, w in weights.items() if ".layers.1." not in n})
    with pytest.raises(ModelError, match=r"lacks 9 weights of LlamaForCausalLM, the first 'model\.layers\.1\."):
        mt.load_model(folder)


def test_a_checkpoint_of_another_shape_is_refused(folder: Path):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": config["intermediate_size"] + 8}))
    with pytest.raises(ModelError, match=r"its weights do not fit its config\.json"):
        mt.load_model(folder)


@pytest.mark.parametrize("device", ["zz", "meta", "cuda:99"])
def test_devices_that_are_not_there(folder: Path, device: str):
    with pytest.raises(ModelError, match=f"cannot use the device '{device}'"):
        mt.load_model(folder, device=device)


def test_a_model_and_a_tokenizer_that_do_not_belong_together(folder: Path):
    model, made = mt.load_model(folder), mt.load_tokenizer(folder)
    check_language_model(model, made)
    made.add_tokens(["<never used>"])  # added to the tokenizer alone, as many are
    check_language_model(model, made)
    made.add_special_tokens({"pad_token": "<new pad>"})
    with pytest.raises(ModelError, match="do not belong together"):
        check_language_model(model, made)
    model.resize_token_embeddings(20)
    with pytest.raises(ModelError, match="LlamaForCausalLM knows 20; they do not belong together"):
        check_language_model(model, tokenizer())


def test_an_embedding_that_transformers_cannot_name_is_let_be(folder: Path, monkeypatch: pytest.MonkeyPatch):
    model = mt.load_model(folder)
    model.resize_token_embeddings(20)

    def unnamed() -> None:
        raise NotImplementedError

    monkeypatch.setattr(model, "get_input_embeddings", unnamed)
    check_language_model(model, tokenizer())


def test_a_model_without_a_head_cannot_be_asked(folder: Path):
    example = TextExample.of_text("Kyoto", "here")
    with pytest.raises(ModelError, match="LlamaModel has no output head"):
        TextProblem(AutoModel.from_pretrained(folder), tokenizer(), [example], [example])


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), 1e300])
def test_no_edit_makes_a_weight_infinite(strength: float):
    model = mlp(5, 6, 3)
    atlas = mt.Atlas(model, mt.collect(model, {"a": [randn(6, 5)], "reference": [randn(9, 5)]}, options=QUIET))
    before = state_of(model)
    with pytest.raises((DataError, NonFiniteError), match=r"finite number|makes '0' infinite"):
        mt.erase(atlas, "a", strength).apply_(model)
    assert same_state(model, before)


@pytest.mark.parametrize(
    "made",
    [
        lambda: LoRA(rank=0),
        lambda: LoRA(dropout=1.0),
        lambda: Training(learning_rate=float("nan")),
        lambda: Training(clip=float("nan")),
        lambda: RLCP(lambda_adv=float("nan")),
    ],
)
def test_settings_out_of_their_range(made: Any):
    with pytest.raises(ConfigurationError):
        made()


def test_an_adapter_for_modules_that_are_not_there(folder: Path):
    pytest.importorskip("peft", reason="peft is not installed; it comes with the extra train")
    with pytest.raises(ConfigurationError, match="cannot adapt 'nowhere' in this model"):
        with_adapter(mt.load_model(folder), LoRA(target_modules="nowhere"))


def test_no_other_files_are_replaced(folder: Path, tmp_path: Path):
    diary = tmp_path / "notes" / "diary.txt"
    diary.parent.mkdir()
    diary.write_text("unfinished")
    with pytest.raises(DataError, match="contains files that mnemotomy did not write"):
        mt.save_model(mt.load_model(folder), diary.parent)
    with pytest.raises(DataError, match="is a file"):
        mt.save_model(mt.load_model(folder), diary)
    assert diary.read_text() == "unfinished"
    mt.save_model(mt.load_model(folder), folder, extra={"note.md": "a"})  # a model may be saved over a model
    mt.save_model(mt.load_model(folder), folder, extra={"note.md": "b"})
    for other, kept in (("note.md", folder / "note.md"), ("thesis", folder / "thesis" / "main.tex")):
        kept.parent.mkdir(exist_ok=True)
        kept.write_text("unfinished")
        with pytest.raises(DataError, match=f"did not write, such as '{other}'"):  # not even beside a model
            mt.save_model(mt.load_model(folder), folder)
        assert kept.read_text() == "unfinished"
        kept.unlink()
    kept.parent.rmdir()
    with pytest.raises(DataError, match=r"config\.json is in .*, which this run would replace"):
        check_replaceable(folder, "config.json", [folder / "config.json"])


def test_figures_of_unknown_formats(tmp_path: Path):
    with pytest.raises(DataError, match=r"cannot write a figure as \.xyz; choose one of"):
        accuracy_heatmap({"a": [[0.0]]}, ["x"], tmp_path / "f.xyz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [("lm_head", "is not a hidden state of width 32"), ("model.layers", "is never called"), ("", "no module ''")],
)
def test_a_probe_sits_on_hidden_states(folder: Path, name: str, message: str):
    model = mt.load_model(folder)
    with pytest.raises(ModelError, match=message), hidden_states(model, [resolve_layer(model, name)]):
        model(torch.tensor([[1, 2, 3]]))
