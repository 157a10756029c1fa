"""Recipes of methods: the same model as by ``mnemotomy unlearn``, whose recipe runs again; errors; the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import says
from tiny_language import write_lines
from tiny_tofu import write_sets
from typer.testing import CliRunner

import mnemotomy as mt
from mnemotomy.cli import app
from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.core.yaml import read_yaml, write_yaml
from mnemotomy.methods.language.npo import NPO
from mnemotomy.recipe import MethodRecipe, load_recipe, made_recipe, run_recipe
from mnemotomy.text.template import Template

METHOD = {"name": "npo", "epochs": 1, "learning_rate": 1e-3}


@pytest.fixture
def folder(tmp_path: Path, pair: Path) -> Path:
    write_sets(tmp_path)
    (tmp_path / "models").symlink_to(pair)
    return tmp_path


def recipe(folder: Path, name: str = "recipe.yaml", **fields: Any) -> Path:
    whole = {"model": "models/full", "method": METHOD, "forget": "forget.jsonl", "retain": "retain.jsonl"}
    whole |= {"force": True} | fields  # the models know nothing
    path = folder / name
    path.write_text(write_yaml({key: value for key, value in whole.items() if value is not None}))
    return path


def test_apply_and_unlearn_are_one_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    applied = CliRunner().invoke(app, ["apply", "recipe.yaml", "a"])
    assert (applied.exit_code, applied.stderr) == (2, "mnemotomy: the recipe recipe.yaml does not exist\n")
    recipe(folder, seed=3)
    applied = CliRunner().invoke(app, ["apply", "recipe.yaml", "a"])
    assert applied.exit_code == 0, applied.output
    assert "NPO: 3 examples to forget, 4 to retain\n" in applied.stdout
    options = ["--set", "epochs=1", "--set", "learning_rate=1e-3", "--seed", "3", "--force"]
    files = ["--forget", "forget.jsonl", "--retain", "retain.jsonl"]
    unlearned = CliRunner().invoke(app, ["unlearn", "models/full", "b", "--method", "npo", *files, *options])
    assert unlearned.exit_code == 0, unlearned.output
    first, second = (json.loads((folder / one / "mnemotomy.json").read_text()) for one in ("a", "b"))
    for part in ("kind", "model", "recipe", "recipe_hash", "files", "counts", "method"):
        assert first[part] == second[part]
    assert first["model"]["fingerprint_after"] == mt.fingerprint(mt.load_model(folder / "b"))
    own = load_recipe(folder / "b.recipe.yaml").recipe
    assert own.forget == ("forget.jsonl",)
    assert own.method == load_recipe(folder / "recipe.yaml").recipe.method
    third = CliRunner().invoke(app, ["apply", "b.recipe.yaml", "c"])  # repeats what unlearn did
    assert third.exit_code == 0, third.output
    assert mt.fingerprint(mt.load_model(folder / "c")) == second["model"]["fingerprint_after"]


def test_closed_forms_and_hybrids_are_recipes_too(folder: Path) -> None:
    found = {}
    for name, method in (
        ("plain", "engram-uniform"),
        ("steep", {"name": "engram-steep", "sites": ["q_proj"], "layers": [0]}),
        ("mixed", {"name": "hybrid", "start": {"name": "uce"}, "then": {"name": "npo", "epochs": 1}}),
    ):
        record = run_recipe(recipe(folder, method=method), folder / name)
        found[name] = record["model"]["fingerprint_after"]
        assert mt.fingerprint(mt.load_model(folder / name)) == found[name]
        assert record["recipe"]["method"]["name"] == record["method"]["name"]
    assert len({*found.values(), record["model"]["fingerprint_before"]}) == 4
    assert record["recipe"]["method"]["start"]["name"] == "uce"


def test_the_folder_tells_how_it_came_about(folder: Path) -> None:
    (folder / "alice.jsonl").write_bytes((folder / "retain.jsonl").read_bytes())
    path = recipe(folder, retain=["self:2", "alice.jsonl"], opening="answer", template={"system": ""}, seed=1)
    record = run_recipe(path, folder / "out")
    assert json.loads((folder / "out" / "mnemotomy.json").read_text()) == record
    saved = load_recipe(folder / "out" / "recipe.yaml")
    assert saved.recipe.forget == ("forget.jsonl",)
    assert saved.recipe.retain == ("self:2", "retain.jsonl")
    for name in ("recipe.yaml", "mnemotomy.json", "README.md"):
        text = (folder / "out" / name).read_text()
        assert "alice" not in text
        assert str(folder) not in text
    assert record["max_length"] == 256  # the window
    assert record["counts"]["examples"] == {"forget": 3, "retain": 6}
    assert record["recipe"]["template"]["system"] == ""
    assert list(record["files"]["retain"]) == ["retain.jsonl", "self:2"]
    assert record["written"]["self:2"]["opening"] == "answer"
    _, front, card = (folder / "out" / "README.md").read_text().split("---\n", 2)
    assert read_yaml(front) == {
        "base_model": "models/full",
        "library_name": "transformers",
        "tags": ["mnemotomy", "unlearning"],
    }
    for part in (
        "NPO",
        "| learning_rate | 0.001 |",
        "| self:2 | retain | written by the model itself |",
        record["recipe_hash"],
    ):
        assert part in card


def test_an_old_result_of_unlearn_is_ours_to_replace(folder: Path) -> None:
    out = folder / "out"
    out.mkdir()
    (out / "unlearning.json").write_text("{}")
    (out / "config.json").write_text("{}")
    run_recipe(recipe(folder, method="engram-uniform"), out)
    assert not (out / "unlearning.json").exists()


def test_what_is_written_is_what_is_meant(folder: Path) -> None:
    found = load_recipe(recipe(folder, method="npo", retain="self:7", template={"date": "2025-04-10"})).recipe
    assert isinstance(found, MethodRecipe)
    assert (found.method, found.template.made) == (NPO(), Template(date="2025-04-10"))
    assert {name: how.count for name, how in found.written.items()} == {"self:7": 7}
    assert found.files == {"forget": ("forget.jsonl",), "retain": ()}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": None}, "'forget' belongs to a method, but this recipe names none; give 'method' too"),
        ({"method": None, "forget": None, "retain": None}, "give 'concepts' or 'moments' for an edit, or 'method'"),
        ({"concepts": {"a": "a.jsonl"}}, "'concepts' belongs to an edit of concepts, but this recipe names a method"),
        ({"strength": 2}, "'strength' belongs to an edit of concepts"),
        ({"forget": None}, "the field 'forget' is missing"),
        (
            {"seeds": 1},
            "unknown field 'seeds'; did you mean 'seed'? known: model, dtype, template, trust_remote_code, force",
        ),
        ({"method": "nop"}, "method: unknown method 'nop'; choose one of gradient-ascent"),
        ({"method": {"name": "npo", "epoch": 2}}, "method: npo: unknown setting 'epoch'; did you mean 'epochs'?"),
        ({"retain": "self:0"}, "retain: 'self:0': give the number of texts"),
        ({"opening": "middle"}, "opening must be 'question' or 'answer', not 'middle'"),
        ({"seed": -1}, "seed must be greater than or equal to 0, not -1"),
        ({"template": "chat"}, "template must be a mapping, not 'chat'"),
        ({"template": {"sytem": ""}}, "template: unknown setting 'sytem'; did you mean 'system'?"),
        ({"method": "delta-weights"}, "pretrained: delta-weights needs the model before it learned"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(folder: Path, fields: dict[str, Any], message: str) -> None:
    path = recipe(folder, **fields)
    with pytest.raises(DataError) as caught:
        load_recipe(path)
    says(caught, str(path), message)


def test_a_method_gives_a_model_and_no_edit(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="npo gives a model, not an edit; leave out --as edit"):
        run_recipe(recipe(folder), folder / "edit.safetensors", as_edit=True)


def test_a_missing_file_is_named_before_the_model_is_read(folder: Path) -> None:
    with pytest.raises(DataError, match=r"recipe.yaml: retain: .*gone\.jsonl does not exist"):
        run_recipe(recipe(folder, retain="gone.jsonl"), folder / "out")
    with pytest.raises(DataError, match=r"^forget: gone\.jsonl does not exist"):
        run_recipe(
            made_recipe(
                {"model": str(folder / "models/full"), "method": "npo", "forget": "gone.jsonl", "retain": "self"}
            ),
            folder / "out",
        )


def test_the_hash_is_of_content_not_of_spelling(folder: Path) -> None:
    first = load_recipe(recipe(folder)).hash
    (folder / "moved.jsonl").write_bytes((folder / "forget.jsonl").read_bytes())
    assert load_recipe(recipe(folder, forget=["moved.jsonl"], seed=0, method=METHOD | {"clip": 1})).hash == first
    for change in (
        {"seed": 1},
        {"method": METHOD | {"epochs": 2}},
        {"retain": ["retain.jsonl", "self:2"]},
        {"template": {"tags": True}},
    ):
        assert load_recipe(recipe(folder, **change)).hash != first
    write_lines(folder / "forget.jsonl", [{"text": "Kyoto"}])
    assert load_recipe(recipe(folder)).hash != first
