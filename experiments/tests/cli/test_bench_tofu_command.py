"""``mnemotomy bench tofu``: records, tables, errors, and several processes on one folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_language import save_llama
from tiny_subject import save_bench
from typer.testing import CliRunner

from mnemotomy.cli import app
from mnemotomy.methods.base import SearchSpace
from mnemotomy.methods.language.two_sided import TwoSided
from mnemotomy_bench.tofu import run as runs

QUICK = ["--no-flops", "--no-attacks", "--seed", "0", "--max-new-tokens", "3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bench(tmp_path_factory.mktemp("command"))


def _json_of(*command: str) -> str:
    result = CliRunner().invoke(app, ["bench", "tofu", *command, "--json", "-"])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    models = ["--models", str(folder), "--data", str(folder / "tofu"), "--out", str(tmp_path)]
    found = json.loads(_json_of("run", *models, "--method", "gradient-ascent", *QUICK))
    assert [one["method"] for one in found] == ["full", "retain", "gradient-ascent"]
    again = ["--method", "two-sided", "--no-flops", "--no-attacks", "--max-new-tokens", "3"]
    monkeypatch.setattr(TwoSided, "search_space", SearchSpace())
    result = CliRunner().invoke(app, ["bench", "tofu", "run", *models, *again, "--json", "-"])
    assert result.exit_code == 0, result.output
    assert [one["method"] for one in json.loads(result.stdout)] == ["full", "retain", "gradient-ascent", "two-sided"]
    result = CliRunner().invoke(app, ["bench", "tofu", "table", "6", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "Overall" in result.stdout
    result = CliRunner().invoke(app, ["bench", "tofu", "table", "3", "--out", str(tmp_path / "empty")])
    assert result.exit_code == 2
    assert "make it with 'mnemotomy bench tofu run'" in result.stderr
    assert list(json.loads(_json_of("table", "4", "--out", str(tmp_path)))[-1])[:2] == ["method", "title"]
    for content in ('[{"method": "npo"}]', '[{"method": "npo", "overall": "x"}]'):
        (tmp_path / "bad" / "tofu.json").parent.mkdir(exist_ok=True)
        (tmp_path / "bad" / "tofu.json").write_text(content)
        result = CliRunner().invoke(app, ["bench", "tofu", "table", "6", "--out", str(tmp_path / "bad")])
        assert result.exit_code == 2
        assert "does not contain records" in result.stderr
    result = CliRunner().invoke(app, ["bench", "tofu", "run", *models, *again, "--name", "another"])
    assert result.exit_code == 2
    assert "choose another folder with --out" in result.stderr
    result = CliRunner().invoke(app, ["bench", "tofu", "run", *models, *again[:-1], "4"])
    assert result.exit_code == 2
    assert "weights, texts or settings" in result.stderr
    result = CliRunner().invoke(app, ["bench", "tofu", "run", *models, *again, "--json", str(tmp_path)])
    assert result.exit_code == 2
    assert "is a folder; name the file to write" in result.stderr
    for method, why in (("two-sided", "not a one-sided closed form"), ("rmu", "run it first")):
        result = CliRunner().invoke(app, ["bench", "tofu", "figure", *models, "--method", method])
        assert result.exit_code == 2
        assert why in result.stderr
    result = CliRunner().invoke(app, ["bench", "tofu", "run", "--method", "npo"])
    assert result.exit_code == 2
    assert "give --models FOLDER" in result.stderr


def test_what_another_process_wrote_meanwhile_stays(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    alone = runs.run_tofu

    def beside_another(*arguments: Any) -> Any:
        records = alone(*arguments)
        other = records[-1] | {"method": "uce", "title": "UCE"}
        (tmp_path / "tofu.json").write_text(json.dumps([*records[:2], other]))
        return records

    monkeypatch.setattr(runs, "run_tofu", beside_another)
    models = ["--models", str(folder), "--data", str(folder / "tofu"), "--out", str(tmp_path)]
    found = json.loads(_json_of("run", *models, "--method", "gradient-ascent", *QUICK))
    assert [one["method"] for one in found] == ["full", "retain", "gradient-ascent", "uce"]
    assert json.loads((tmp_path / "tofu.json").read_text()) == found
    assert {one["precision"] for one in found} == {"no"}


@pytest.mark.parametrize("command", ["run", "figure", "speed", "prepare"])
def test_what_stands_around_questions_is_never_chosen_in_silence(folder: Path, tmp_path: Path, command: str):
    bare = str(save_llama(tmp_path / "bare", template=None))
    pair = ["--full", bare, "--gold", bare, "--data", str(folder / "tofu"), "--out", str(tmp_path / "out")]
    options = {"speed": [bare], "prepare": [str(tmp_path / "p"), "--base", bare]}.get(command, pair)
    result = CliRunner().invoke(app, ["bench", "tofu", command, *options])
    assert result.exit_code == 2
    assert "give --tags" in result.stderr
