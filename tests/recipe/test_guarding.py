"""Guards of recipes: a tiny Llama that knows three cities; what ruins it or does nothing is refused unless forced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from learned_cities import COUNTRIES, TEMPLATE, examples, trained
from tiny_language import write_lines
from typer.testing import CliRunner

import mnemotomy as mt
from mnemotomy.cli import app
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.yaml import write_yaml
from mnemotomy.recipe import guarding, load_recipe, run_recipe
from mnemotomy.text.template import TemplateSettings

STYLE = {name: value for name, value in vars(TemplateSettings.of(TEMPLATE)).items() if value not in (None, False)}
EDIT = {"filter": {"kind": "hard", "threshold": 0.5}, "positions": "all", "strength": 1.0}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, tokenizer = trained()
    folder = tmp_path_factory.mktemp("model") / "source"
    mt.save_model(model, folder, tokenizer=tokenizer)
    for city in COUNTRIES:
        rows = ({"question": one.question, "answer": one.answer} for one in examples([city]))
        write_lines(folder.parent / f"{city}.jsonl", rows)
    return folder


def recipe(source: Path, out: Path, reference: Any = ("Paris.jsonl", "Rome.jsonl"), **fields: Any) -> Path:
    files = {"concepts": {"Kyoto": str(source.parent / "Kyoto.jsonl")}}
    files |= {"reference": [str(source.parent / file) for file in reference]}
    path = out / "recipe.yaml"
    path.write_text(write_yaml({"model": str(source), "template": STYLE, **files, **EDIT, **fields}))
    return path


def test_a_good_edit_passes_and_says_what_was_measured(source: Path, tmp_path: Path) -> None:
    record = run_recipe(recipe(source, tmp_path), tmp_path / "out", progress=False)
    found = json.loads((tmp_path / "out" / "mnemotomy.json").read_text())["guards"]
    assert found == record["guards"]
    assert (found["forced"], found["concerns"]) == (False, [])
    assert found["losses"]["forget"]["examples"] == 2
    assert found["losses"]["retain"]["examples"] == 4
    assert found["losses"]["forget"]["after"] > found["losses"]["forget"]["before"] + 0.5
    assert found["losses"]["retain"]["after"] < found["losses"]["retain"]["before"] + 0.5
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| forget, 2 | " in card


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reference": ["Rome.jsonl"], "positions": "answer"}, "nothing was edited: the moments have 28 rows, but"),
        ({"strength": 1e-5}, "nothing was saved: the mean loss on 2 examples of the forget set is"),
        ({"strength": 30.0, "filter": "soft"}, "so what should stay is lost"),
    ],
)
def test_what_ruins_a_model_or_does_nothing_is_refused_unless_forced(
    source: Path, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    path = recipe(source, tmp_path, **fields)
    for as_edit in (False, True):
        with pytest.raises(ConfigurationError, match=r"'force: true' in a recipe") as caught:
            run_recipe(path, tmp_path / "out", as_edit=as_edit, progress=False)
        assert message in str(caught.value)
        assert not (tmp_path / "out").exists()
    with pytest.warns(mt.SurgeryWarning):
        record = run_recipe(load_recipe(path).forced(), tmp_path / "out", progress=False)
    assert record["guards"]["forced"]
    assert any(message.rpartition(": ")[2] in concern for concern in record["guards"]["concerns"])
    assert load_recipe(tmp_path / "out" / "recipe.yaml").recipe.force
    assert record["recipe_hash"] == load_recipe(path).hash  # the result is the same


def test_on_the_command_line_one_line_and_force(source: Path, tmp_path: Path) -> None:
    arguments = ["apply", str(recipe(source, tmp_path, strength=1e-5)), str(tmp_path / "out")]
    refused = CliRunner().invoke(app, arguments)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert CliRunner().invoke(app, [*arguments, "--force"]).exit_code == 0


def test_a_method_is_guarded_too(source: Path, tmp_path: Path) -> None:
    files = {"forget": str(source.parent / "Kyoto.jsonl"), "retain": str(source.parent / "Rome.jsonl")}
    options = [word for name, file in files.items() for word in (f"--{name}", file)]
    arguments = ["unlearn", str(source), str(tmp_path / "out"), "--system", "", "--date", "", *options]
    slow = [*arguments, "--method", "npo", "--set", "epochs=1", "--set", "learning_rate=1e-7"]
    refused = CliRunner().invoke(app, slow)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "so nothing was forgotten; take a larger strength or learning rate" in refused.stderr
    assert CliRunner().invoke(app, [*slow, "--force"]).exit_code == 0
    assert json.loads((tmp_path / "out" / "mnemotomy.json").read_text())["guards"]["forced"]
    few = CliRunner().invoke(app, [*arguments, "--method", "engram-projector"])
    assert few.exit_code == 2
    assert "nothing was edited: the moments have" in few.stderr


def test_with_saved_moments_general_sentences_stand_for_the_rest(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = mt.load_model(source), mt.load_tokenizer(source)
    data = {
        name: mt.batches(tokenizer, examples(cities), template=TEMPLATE, positions="all")
        for name, cities in (("Kyoto", ["Kyoto"]), ("reference", ["Paris", "Rome"]))
    }
    mt.collect(model, data, sites="all-linear").save(tmp_path / "moments.safetensors")
    path = tmp_path / "recipe.yaml"
    path.write_text(write_yaml({"model": str(source), "moments": "moments.safetensors", "strength": 1.0}))
    assert run_recipe(path, tmp_path / "out", progress=False)["guards"]["losses"] == {}  # it writes no English
    monkeypatch.setattr(guarding, "WRITES", 1e30)
    monkeypatch.setattr(guarding, "COLLAPSE", -10.0)  # its loss on them falls
    with pytest.raises(ConfigurationError, match=r"16 general sentences is .*what should stay is lost"):
        run_recipe(path, tmp_path / "out", progress=False)
