"""``mnemotomy unlearn`` and ``mnemotomy methods`` on small local folders; bad input is one line and status 2."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tiny_tofu import write_sets
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from mnemotomy.cli import app
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.models import load_model
from mnemotomy.core.yaml import read_yaml
from mnemotomy.methods.language.npo import NPO
from mnemotomy.methods.registry import methods


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_sets(tmp_path)
    return tmp_path


def invoke(pair: Path, files: Path, *options: str, method: str = "npo", retain: str | None = None) -> Any:
    given = ["--forget", str(files / "forget.jsonl"), "--retain", retain or str(files / "retain.jsonl")]
    arguments = [str(pair / "full"), str(files / "out"), "--force", "--method", method, *given, *options]
    return CliRunner().invoke(app, ["unlearn", *arguments])


def test_a_folder_that_loads_and_says_what_ran(pair: Path, files: Path):
    before = fingerprint(load_model(pair / "full"))
    result = invoke(pair, files, "--set", "epochs=1", "--set", "learning_rate=1e-3", "--seed", "3")
    assert result.exit_code == 0, result.output
    AutoModelForCausalLM.from_pretrained(files / "out")
    record = json.loads((files / "out" / "mnemotomy.json").read_text())
    assert record["model"]["fingerprint_before"] == before
    assert record["model"]["fingerprint_after"] == fingerprint(load_model(files / "out")) != before
    assert record["recipe"]["method"]["epochs"] == 1
    assert record["recipe"]["method"]["learning_rate"] == 1e-3
    assert record["recipe"]["seed"] == 3
    card = (files / "out" / "README.md").read_text()
    for part in ("NPO", before, "learning_rate", "No evaluation was run", "| retain.jsonl | retain |"):
        assert part in card
    again = read_yaml((files / "out.recipe.yaml").read_text())
    for name in ("README.md", "recipe.yaml", "mnemotomy.json"):
        assert str(files) not in (files / "out" / name).read_text().replace(str(pair), "")
    assert (files / again["retain"][0]).resolve() == (files / "retain.jsonl").resolve()
    assert invoke(pair, files, "--set", "epochs=1").exit_code == 0  # replaces its own


def test_texts_of_the_models_own(pair: Path, files: Path):
    options = ["--opening", "answer", "--set", "epochs=1"]
    result = invoke(pair, files, *options, retain="self:3")
    assert result.exit_code == 0, result.output
    record = json.loads((files / "out" / "mnemotomy.json").read_text())
    assert record["counts"]["examples"]["retain"] == 3
    assert record["files"]["retain"] == {"self:3": None}
    assert "written by the model itself" in (files / "out" / "README.md").read_text()


def test_the_settings_of_a_method_are_listed() -> None:
    result = CliRunner().invoke(app, ["methods", "npo"])
    assert result.exit_code == 0
    assert "beta = 0.1\n" in result.stdout
    assert "engram-uniform" not in result.stdout
    result = CliRunner().invoke(app, ["methods", "nop"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("nop", [], "method: unknown method 'nop'; choose one of"),
        ("npo", ["--set", "epoch=1"], "npo: unknown setting 'epoch'; did you mean 'epochs'? known:"),
        ("npo", ["--set", "epochs"], "is not key=value"),
        ("npo", ["--set", "name=rmu"], "the method is chosen by --method"),
        ("npo", ["--set", "epochs=1", "--set", "epochs=2"], "is given twice; give it once"),
        ("npo", ["--set", 'epochs=!!int ""'], "is not a value: not valid YAML"),
        ("npo", ["--set", "epochs=[1"], "'[1' is not a value: not valid YAML"),
        ("npo", ["--set", "epochs=many"], "npo.epochs must be a valid integer, not 'many'"),
        ("npo", ["--set", "beta=0"], "β is above 0"),
        ("npo", ["--retain", "self:0"], "give the number of texts"),
        ("npo", ["--retain", "gone.jsonl"], "retain: gone.jsonl does not exist"),
    ],
)
def test_bad_options_are_one_line(pair: Path, files: Path, method: str, options: list[str], message: str):
    result = invoke(pair, files, *options, method=method)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (files / "out").exists()


def test_a_method_that_needs_the_pretrained_model(pair: Path, files: Path, monkeypatch: pytest.MonkeyPatch):
    @dataclass(frozen=True)
    class Needy(NPO):
        name: ClassVar = "needy"
        needs: ClassVar = ("pretrained",)

    monkeypatch.setitem(methods("language models"), "needy", Needy)
    result = invoke(pair, files, method="needy")
    assert result.exit_code == 2
    assert "needs the model before it learned" in result.stderr


def test_foreign_folders_are_refused(pair: Path, files: Path):
    (files / "out").mkdir()
    (files / "out" / "thesis.txt").write_text("unfinished")
    result = invoke(pair, files)
    assert result.exit_code == 2
    assert "did not write" in result.stderr
    assert (files / "out" / "thesis.txt").exists()


def test_the_methods_are_listed():
    result = CliRunner().invoke(app, ["methods", "--json", "-"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    names = {one["name"] for one in found if one["models"] == "language models"}
    assert names == set(methods("language models"))
    assert all(one["paper"] and one["cost"] and one["family"] for one in found)
    costs = {one["name"]: one["cost"] for one in found if one["models"] == "classifiers"}
    assert costs.keys() == methods("classifiers").keys()
    assert costs["engram"] == "forward passes"
    assert "backwards" in costs["two-sided"]
    text = CliRunner().invoke(app, ["methods"]).stdout
    assert "for classifiers" in text
    assert "npo" in text
