"""Running recipes: what they save is the edited model, and a failed run loses nothing."""

from __future__ import annotations

import json
import os
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import count_batches
from recipe_file import recipe
from tiny_language import concept_files, save_llama, save_qwen, write_lines
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

import mnemotomy as mt
from mnemotomy.cli import app
from mnemotomy.core.errors import (
    ConceptError,
    ConfigurationError,
    DataError,
    FingerprintError,
    MnemotomyError,
    ModelError,
    NonFiniteError,
    SelectionError,
    TiedWeightsError,
)
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.yaml import read_yaml
from mnemotomy.engram.collect import CollectOptions
from mnemotomy.engram.moments import Moments
from mnemotomy.recipe import collecting, load_recipe, run_recipe
from mnemotomy.recipe.collecting import Reading, collect_files, remove_checkpoints
from mnemotomy.text.batches import batches

IDS = torch.arange(5, 25)[None]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_llama(folder / "llama")
    save_llama(folder / "other", seed=1)
    save_llama(folder / "silent", template=None)
    save_qwen(folder / "tied")
    return folder


@pytest.fixture
def folder(tmp_path: Path, models: Path) -> Path:
    """A folder with concept files and the models."""
    concept_files(tmp_path)
    (tmp_path / "models").symlink_to(models)
    return tmp_path


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS).logits
    return found


def moments_of(model: Any, source: Path, folder: Path, **selection: Any) -> mt.Moments:
    made = mt.load_tokenizer(source)
    data = {
        name: batches(made, folder / file)
        for name, file in (("kyoto", "kyoto.jsonl"), ("paris", "paris.jsonl"), ("reference", "rest.jsonl"))
    }
    return mt.collect(model, data, **selection)


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "models/llama", "erase": ["kyoto"]},
        {"model": "models/llama", "filter": "hard", "strength": "weight-norm", "sites": ["q_proj", "down_proj"]},
        {"model": "models/llama", "inject": ["kyoto"], "erase": ["paris"], "base": "models/other", "layers": 1},
        {
            "model": "models/silent",
            "strength": "effective-rank",
            "cut": {"kind": "rank", "rank": 8},
            "template": {"tags": True},
        },
        {"model": "models/tied", "sites": "all", "untie": True, "strength": 0.5},
        {"model": "models/tied", "sites": ["lm_head"], "untie": True, "strength": {"lm_head": 0.5}},
        {"model": "models/tied"},
        {"model": "models/llama", "dtype": "bfloat16"},
        {"model": "models/llama", "outputs": True, "erase": ["kyoto"], "strength": "weight-norm"},
    ],
)
def test_what_is_saved_is_the_edited_model(folder: Path, fields: dict[str, Any]) -> None:
    out = folder / "out"
    path = recipe(folder, **fields)
    record = run_recipe(path, out, progress=False)
    written = load_recipe(path).recipe

    source = folder / fields["model"]
    model = mt.load_model(source, dtype=written.dtype)
    before = logits(model)
    base = mt.load_model(folder / fields["base"]) if "base" in fields else None
    moments = moments_of(model, source, folder, sites=written.sites, layers=written.layers)
    atlas = mt.Atlas(model, moments, written.cut, base)
    edit = sum(
        make(atlas, names, written.strength, written.filter, outputs=written.outputs)
        for make, names in ((mt.erase, written.erase), (mt.inject, written.inject))
        if names
    )
    edit.apply_(model, tied="untie" if written.untie else "refuse")

    loaded = AutoModelForCausalLM.from_pretrained(out)
    assert loaded.dtype == model.dtype
    assert torch.equal(logits(loaded), logits(model))
    assert not torch.equal(logits(loaded), before)
    assert record["model"]["fingerprint_before"] == moments.origin.fingerprint
    assert record["model"]["fingerprint_after"] == fingerprint(model)
    assert AutoTokenizer.from_pretrained(out)("Kyoto")["input_ids"] == mt.load_tokenizer(source)("Kyoto")["input_ids"]
    assert not list(folder.glob(".*"))  # no checkpoint and no temporary folder is left


def test_the_folder_tells_how_it_came_about(folder: Path) -> None:
    path = recipe(folder, erase=["kyoto"], filter={"kind": "hard", "threshold": 0.25})
    record = run_recipe(path, folder / "out", progress=False)
    assert json.loads((folder / "out/mnemotomy.json").read_text()) == record
    assert record["files"].keys() == {"kyoto", "paris", "reference"}
    for name in ("recipe.yaml", "mnemotomy.json", "README.md"):
        text = (folder / "out" / name).read_text()
        assert "rest.jsonl" not in text  # what the file is called; the concepts' names are the recipe's own
        assert str(folder) not in text
    for role, file in (("kyoto", "kyoto"), ("paris", "paris"), ("reference", "rest")):
        (folder / "out" / f"{role}.jsonl").write_bytes((folder / f"{file}.jsonl").read_bytes())
    again = run_recipe(folder / "out/recipe.yaml", folder / "again", progress=False)  # from another folder
    assert again["model"]["fingerprint_after"] == record["model"]["fingerprint_after"]
    assert record["recipe_hash"] == load_recipe(path).hash
    assert record["counts"]["examples"] == {"kyoto": 2, "paris": 1, "reference": 6}
    assert record["counts"]["tokens"]["kyoto"] == 3
    assert set(record["seconds"]) == {"load", "collect", "edit"}
    _, front, card = (folder / "out/README.md").read_text().split("---\n", 2)
    assert read_yaml(front) == {
        "base_model": "models/llama",
        "library_name": "transformers",
        "tags": ["mnemotomy", "model-editing", "unlearning"],
    }
    for part in ("**Erased:** kyoto", "hard (threshold 0.25)", "| paris | reference |", record["recipe_hash"], "audit"):
        assert part in card


def test_running_again_replaces_the_output_and_gives_the_same(folder: Path) -> None:
    path, out = recipe(folder), folder / "out"
    first = run_recipe(path, out, progress=False)
    (out / "model-00002-of-00002.safetensors").write_text("from before")
    second = run_recipe(path, out, progress=False)
    assert second["model"] == first["model"]
    assert not (out / "model-00002-of-00002.safetensors").exists()


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"model": "models/none/at/all"}, ModelError, "the model folder .* does not exist"),
        ({"model": "./nowhere"}, ModelError, "the model folder .* does not exist"),
        ({"model": "kyoto.jsonl"}, ModelError, "the model folder .* is a file"),
        ({"base": "./nowhere"}, ModelError, "the model folder .* does not exist"),
        ({"reference": "none.jsonl"}, DataError, "recipe.yaml: reference: .* does not exist"),
        ({"reference": "."}, DataError, "reference: cannot read"),
        ({"sites": ["z_proj"]}, SelectionError, "no site is named 'z_proj'"),
        ({"layers": 9}, SelectionError, "no selected site is in block 9"),
        (
            {"strength": {"lm_head": 1}},
            SelectionError,
            "strength: 'lm_head' is not one of the 14 sites",
        ),
        ({"strength": 1e300}, NonFiniteError, "infinite; choose a smaller strength"),
        ({"model": "models/tied", "sites": "all"}, TiedWeightsError, "write 'untie: true' in the recipe"),
        ({"max_length": 4}, DataError, "kyoto.jsonl line 1: the content begins after"),
        ({"strength": 0.0}, ConfigurationError, "nothing changed: every weight is what it was"),
    ],
)
def test_a_failed_run_names_the_cause_and_keeps_the_old_output(
    folder: Path, fields: dict[str, Any], error: type[MnemotomyError], message: str
) -> None:
    out = folder / "out"
    out.mkdir()
    (out / "mnemotomy.json").write_text("from an earlier run")
    with pytest.raises(error, match=message):
        run_recipe(recipe(folder, **fields), out, progress=False)
    assert [path.name for path in out.iterdir()] == ["mnemotomy.json"]
    assert not list(folder.glob(".*"))


def test_folders_that_are_not_ours_are_not_replaced(folder: Path) -> None:
    path = recipe(folder)
    with pytest.raises(DataError, match="contains files that mnemotomy did not write"):
        run_recipe(path, folder)
    with pytest.raises(DataError, match="is a file"):
        run_recipe(path, folder / "kyoto.jsonl")
    with pytest.raises(DataError, match=r"lies below .*kyoto\.jsonl, which is a file"):
        run_recipe(path, folder / "kyoto.jsonl" / "out")
    run_recipe(path, folder / "out", progress=False)
    with pytest.raises(DataError, match="which this run would replace"):
        run_recipe(recipe(folder, "again.yaml", model="out"), folder / "out")


def test_an_interrupted_collection_resumes_with_the_same_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = mt.load_model(folder / "models/llama"), mt.load_tokenizer(folder / "models/llama")
    files = {"kyoto": [folder / "kyoto.jsonl"], "reference": [folder / "rest.jsonl"]}
    output, reading = folder / "m.safetensors", Reading(batch_size=1, progress=False)
    whole, _ = collect_files(model, made, files, reading, output)

    seen = count_batches(monkeypatch, interrupt_at=3)
    with pytest.raises(KeyboardInterrupt, match=r"resumes from .*m\.safetensors\..*\.checkpoint"):
        collect_files(model, made, files, reading, output)
    assert len(seen) == 3
    resumed, _ = collect_files(model, made, files, reading, output)
    assert len(seen) == 8
    for name in whole.statistics:
        for concept in whole.concepts:
            assert torch.equal(resumed.statistics[name][concept].second, whole.statistics[name][concept].second)
    assert list(folder.glob(".*.checkpoint"))  # until the moments are saved
    remove_checkpoints(folder / "m")  # another output, whose name is the beginning of this one's
    assert list(folder.glob(".*.checkpoint"))
    remove_checkpoints(output)
    assert not list(folder.glob(".*.checkpoint"))


def test_a_checkpoint_of_other_data_is_not_gone_on_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = mt.load_model(folder / "models/llama"), mt.load_tokenizer(folder / "models/llama")
    files = {"kyoto": [folder / "kyoto.jsonl"], "reference": [folder / "rest.jsonl"]}
    output, reading = folder / "m.safetensors", Reading(batch_size=1, progress=False)
    with monkeypatch.context() as patch:
        count_batches(patch, interrupt_at=1)
        with pytest.raises(KeyboardInterrupt):
            collect_files(model, made, files, reading, output)
    (stale,) = folder.glob(".*.checkpoint")
    write_lines(folder / "kyoto.jsonl", [{"text": "Kyoto"}, {"text": "Kyoto Kyoto"}])
    found, _ = collect_files(model, made, files, reading, output)
    assert found.origin.examples == {"kyoto": 2, "reference": 6}
    assert found.count(next(iter(found.readers)), "kyoto") == 4
    remove_checkpoints(output)
    assert not stale.exists()


def test_moments_that_cannot_be_saved_leave_what_the_same_command_goes_on_from(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "CollectOptions", partial(CollectOptions, checkpoint_seconds=0.0))
    arguments = ["collect", str(folder / "models/llama"), "--concept", f"kyoto={folder / 'kyoto.jsonl'}"]
    arguments += ["--reference", str(folder / "rest.jsonl"), "-o", str(folder / "m.safetensors"), "--batch-size", "1"]

    save = Moments.save

    def full(moments: Moments, path: Path, *, progress: dict[str, Any] | None = None) -> None:
        if progress is None:
            raise OSError(28, "No space left on device")
        save(moments, path, progress=progress)

    with monkeypatch.context() as patch:
        patch.setattr(Moments, "save", full)
        failed = CliRunner().invoke(app, arguments)
    assert (failed.exit_code, failed.stderr.count("\n")) == (2, 1)
    seen = count_batches(monkeypatch)
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert not seen  # every batch was in the checkpoint
    assert Moments.load(folder / "m.safetensors").origin.examples == {"kyoto": 2, "reference": 6}
    assert not list(folder.glob(".*.checkpoint"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_moments_go_through_a_pipe_and_nothing_lies_beside_it(folder: Path) -> None:
    (folder / "pipes").mkdir()
    pipe, read = folder / "pipes" / "m.safetensors", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    arguments = ["collect", str(folder / "models/llama"), "--concept", f"kyoto={folder / 'kyoto.jsonl'}"]
    arguments += ["--reference", str(folder / "rest.jsonl"), "-o", str(pipe)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    reader.join(20)
    assert pipe.is_fifo()
    assert list(pipe.parent.iterdir()) == [pipe]
    (folder / "copy.safetensors").write_bytes(read[0])
    assert Moments.load(folder / "copy.safetensors").origin.examples == {"kyoto": 2, "reference": 6}


def test_models_that_concept_files_do_not_fit_are_refused(folder: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    made = mt.load_tokenizer(folder / "models/llama")
    files = {"kyoto": [folder / "kyoto.jsonl"], "reference": [folder / "rest.jsonl"]}
    both = T5ForConditionalGeneration(
        T5Config(vocab_size=400, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    )
    with pytest.raises(ModelError, match="reads one text and writes another"):
        collect_files(both, made, files, Reading(), folder / "m")
    save_llama(folder / "small")
    small = mt.load_model(folder / "small")
    small.resize_token_embeddings(20)
    with pytest.raises(ModelError, match="do not belong together"):
        collect_files(small, made, files, Reading(), folder / "m")
    with pytest.raises(ConceptError, match="'kyoto' has no reference"):
        collect_files(small, made, {"kyoto": files["kyoto"]}, Reading(), folder / "m")


def test_edits_of_a_changed_model_are_refused(folder: Path) -> None:
    model = mt.load_model(folder / "models/llama")
    moments = moments_of(model, folder / "models/llama", folder)
    with pytest.raises(FingerprintError):
        mt.Atlas(mt.load_model(folder / "models/other"), moments)
