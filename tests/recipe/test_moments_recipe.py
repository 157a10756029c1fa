"""Recipes of saved moments: the same edit as of the files behind them, and nothing is collected again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from recipe_file import recipe
from tiny_language import concept_files, save_llama
from typer.testing import CliRunner

import mnemotomy as mt
from mnemotomy.cli import app
from mnemotomy.core.errors import ConceptError, ConfigurationError, DataError, FingerprintError, MnemotomyError
from mnemotomy.engram.collector import Collector
from mnemotomy.recipe import load_recipe, run_recipe

SOME = {"sites": ["q_proj", "down_proj"], "layers": 1, "positions": "all", "template": {"system": ""}}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, concept files and moments of two selections."""
    folder = tmp_path_factory.mktemp("ready")
    concept_files(folder)
    save_llama(folder / "models" / "llama")
    save_llama(folder / "models" / "other", seed=1)
    base = ["collect", str(folder / "models/llama"), "--concept", f"kyoto={folder / 'kyoto.jsonl'}"]
    base += ["--concept", f"paris={folder / 'paris.jsonl'}", "--reference", str(folder / "rest.jsonl")]
    for name, options in (
        ("all", []),
        ("some", ["--sites", "q_proj,down_proj", "--layers", "1", "--positions", "all", "--system", ""]),
    ):
        done = CliRunner().invoke(app, [*base, *options, "-o", str(folder / f"{name}.safetensors")])
        assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, [*base[:-2], "-o", str(folder / "bare.safetensors")])
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def folder(tmp_path: Path, ready: Path) -> Path:
    for path in ready.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


@pytest.fixture
def no_collecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is collected is an error."""
    monkeypatch.setattr(Collector, "batch", lambda *_, **__: pytest.fail("a batch was collected"))


def of_moments(folder: Path, moments: str = "all.safetensors", **fields: Any) -> Path:
    return recipe(folder, "m.yaml", **{"concepts": None, "reference": None, "moments": moments, **fields})


@pytest.mark.parametrize(
    ("moments", "fields"),
    [
        ("all", {}),
        ("all", {"erase": ["kyoto"], "filter": "hard=0.3", "strength": "weight-norm"}),
        ("all", {"erase": ["paris"], "inject": ["kyoto"], "outputs": True, "base": "models/other"}),
        ("some", {"cut": "rank=8", **SOME}),
    ],
)
def test_the_edit_is_that_of_the_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, moments: str, fields: dict[str, Any]
) -> None:
    collected = run_recipe(recipe(folder, **fields), folder / "a", progress=False)
    settled = {} if moments == "all" else dict.fromkeys(SOME)
    with monkeypatch.context() as patch:
        patch.setattr(Collector, "batch", lambda *_, **__: pytest.fail("a batch was collected"))
        found = run_recipe(of_moments(folder, f"{moments}.safetensors", **(fields | settled)), folder / "b")
    for part in ("model", "edit", "sites", "counts"):
        assert found[part] == collected[part]
    written = {"concepts": {}, "reference": [], "moments": "moments.safetensors"}  # by role
    assert found["recipe"] == collected["recipe"] | written
    assert found["recipe_hash"] != collected["recipe_hash"]
    assert "| moments |" in (folder / "b" / "README.md").read_text()


@pytest.mark.usefixtures("no_collecting")
@pytest.mark.parametrize(
    ("moments", "fields", "error", "message"),
    [
        ("all", {"model": "models/other"}, FingerprintError, "collected on another model"),
        ("all", {"dtype": "bfloat16"}, ConfigurationError, "dtype: the moments were collected with float32, not with"),
        ("all", {"sites": ["q_proj"]}, ConfigurationError, "sites: the moments were collected with all-linear, not wi"),
        ("some", {"layers": [0]}, ConfigurationError, "layers: the moments were collected with 1, not with 0; leave"),
        ("all", {"erase": ["rome"]}, ConceptError, "no concept 'rome' in all.safetensors; there are kyoto, paris, ref"),
        ("all", {"erase": ["kyoto", "paris", "reference"]}, ConceptError, "has no reference"),
        ("bare", {}, ConceptError, "bare.safetensors has no concept 'reference'; say what to erase, from kyoto, paris"),
        ("all", {"max_length": 9}, ConfigurationError, "max_length: the moments were collected with 128, not with 9"),
        ("all", {"template": {"tags": True}}, ConfigurationError, "template: .*leave out 'tags'"),
        ("some", {"positions": "answer"}, ConfigurationError, "positions: the moments were collected with all, not wi"),
        ("all", {"template": {"date": "1"}}, ConfigurationError, "template: the moments were collected with"),
        ("all", {"batch_size": 9}, DataError, "batch_size: the moments are already collected; leave out 'batch_size'"),
        ("all", {"concepts": {"kyoto": "kyoto.jsonl"}}, DataError, "concepts: the moments are already collected"),
        ("all", {"reference": "rest.jsonl"}, DataError, "reference: the moments are already collected"),
        ("all", {"erase": ["kyoto"], "inject": ["kyoto"]}, DataError, "inject: 'kyoto' is erased too"),
        ("none", {}, DataError, "m.yaml: moments: .* does not exist"),
    ],
)
def test_what_the_moments_settle_is_not_contradicted(
    folder: Path, moments: str, fields: dict[str, Any], error: type[MnemotomyError], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_recipe(of_moments(folder, f"{moments}.safetensors", **fields), folder / "out")
    assert not (folder / "out").exists()


@pytest.mark.usefixtures("no_collecting")
def test_one_of_several_needs_no_reference_by_name(folder: Path) -> None:
    record = run_recipe(of_moments(folder, "bare.safetensors", erase=["kyoto"]), folder / "out")
    assert record["recipe"]["erase"] == ["kyoto"]
    assert record["counts"]["examples"] == {"kyoto": 2, "paris": 1}


@pytest.mark.usefixtures("no_collecting")
def test_a_file_that_is_not_moments_is_refused(folder: Path) -> None:
    (folder / "not.safetensors").write_bytes(b"what")
    with pytest.raises(MnemotomyError, match="damaged"):
        run_recipe(of_moments(folder, "not.safetensors"), folder / "out")


def test_the_hash_is_of_the_moments_content(folder: Path) -> None:
    first = load_recipe(of_moments(folder)).hash
    (folder / "moved.safetensors").write_bytes((folder / "all.safetensors").read_bytes())
    assert load_recipe(of_moments(folder, "moved.safetensors")).hash == first
    assert load_recipe(of_moments(folder, "some.safetensors")).hash != first


def test_no_moments_are_replaced_by_the_edit(folder: Path) -> None:
    with pytest.raises(DataError, match="is read by this command"):
        run_recipe(of_moments(folder), folder / "all.safetensors", as_edit=True)


def test_the_chain_gives_what_the_library_gives(folder: Path) -> None:
    run_recipe(of_moments(folder, erase=["kyoto"], filter="hard"), folder / "out")
    model = mt.load_model(folder / "models/llama")
    atlas = mt.Atlas(model, mt.Moments.load(folder / "all.safetensors"))
    mt.erase(atlas, "kyoto", filter=mt.Hard(0.5)).apply_(model)
    assert mt.fingerprint(mt.load_model(folder / "out")) == mt.fingerprint(model)
    assert all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())
