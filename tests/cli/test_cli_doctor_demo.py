"""mnemotomy doctor and mnemotomy demo on the command line."""

from __future__ import annotations

import json
import sys
import tomllib
import types
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Invoke, call

from mnemotomy.cli.doctor import REQUIRED
from mnemotomy.cli.extras import EXTRAS
from mnemotomy.core.errors import DataError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """In a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return call


def test_doctor_reports(invoke: Invoke) -> None:
    result = invoke("doctor", "--json", "-")
    findings = json.loads(result.stdout)
    assert result.exit_code == 0
    assert findings["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert findings["devices"][0]["device"] == "cpu"
    assert findings["memory_gib"] > 0
    text = invoke("doctor").stdout
    assert f"torch {findings['versions']['torch']}\n" in text
    assert findings["devices"][0]["bfloat16"] is ("so use float32" not in text)
    assert findings["chosen"]["threads"] == torch.get_num_threads()
    passes = "bfloat16" if findings["devices"][0]["bfloat16"] else "float32"
    assert f"; passes in {passes} (--precision)\n" in text


def test_doctor_says_how_to_get_what_is_missing(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["mnemotomy.cli.doctor"]  # mnemotomy.cli has the command under this name
    absent = {"lm-eval"}

    def version(package: str) -> str:
        if package in absent:
            raise PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(module, "version", version)
    result = invoke("doctor")
    assert result.exit_code == 0
    purpose = "for tasks of lm-eval in an audit, and GSM8K"
    assert f"optional, not installed: lm-eval, {purpose}; install it with: pip install lm-eval\n" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("all that forget, audit, chat, trace and facts need")
    absent.add("pydantic")
    result = invoke("doctor", "--json", "-")
    assert result.exit_code == 2
    assert [missing["package"] for missing in json.loads(result.stdout)["missing"]] == ["pydantic", "lm-eval"]


def test_doctor_knows_all_that_the_project_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(requirements: list[str]) -> set[str]:
        return {requirement.split(">")[0].split("=")[0] for requirement in requirements}

    assert names(project["dependencies"]) == set(REQUIRED)
    for extra in EXTRAS:
        assert extra.name is None or extra.package in names(project["optional-dependencies"][extra.name])


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A demo that is over at once; what it was called with is under ``called``."""
    found: dict[str, Any] = {"seconds": 1.5}

    def run_demo(out_dir: Path, *, seed: int, report: bool, small_world: bool) -> dict[str, Any]:
        print("something on the way")
        if seed < 0:
            raise DataError("a seed is at least 0")
        if seed > 9:
            raise ModuleNotFoundError("No module named 'sklearn.datasets'", name="sklearn.datasets")
        return found | {"called": [str(out_dir), seed, report, small_world]}

    demo = types.ModuleType("mnemotomy.demo")
    show = types.ModuleType("mnemotomy.demo.show")
    demo.run_demo = run_demo  # type: ignore[attr-defined]
    show.print_tables = lambda results, console: console.print("tables")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mnemotomy.demo", demo)
    monkeypatch.setitem(sys.modules, "mnemotomy.demo.show", show)
    return found


def test_demo_as_json_prints_nothing_else(invoke: Invoke, numbers: dict[str, Any]) -> None:
    result = invoke("demo", "--json", "-", "--seed", "3", "--no-report", "--small-world")
    assert json.loads(result.stdout) == numbers | {"called": ["runs/demo", 3, False, True]}


def test_demo_ends_in_tables_and_the_report(invoke: Invoke, numbers: dict[str, Any]) -> None:
    result = invoke("demo", "--out", "here", "--json", "n.json")
    assert result.stdout == "tables\nhere/report.html: 2 s\n"
    assert json.loads(Path("n.json").read_text())["called"] == ["here", 0, True, False]


def test_demo_looks_at_its_folder_first(invoke: Invoke, numbers: dict[str, Any]) -> None:
    Path("file").write_text("mine")
    for out in ("file", "file/below"):
        result = invoke("demo", "--out", out)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "file" in result.stderr
        assert "something on the way" not in result.stderr
    assert Path("file").read_text() == "mine"


def test_demo_fails_in_one_line(invoke: Invoke, numbers: dict[str, Any]) -> None:
    assert invoke("demo", "--seed", "-1").stderr == "something on the way\nmnemotomy: a seed is at least 0\n"
    result = invoke("demo", "--seed", "10")
    assert result.exit_code == 2
    assert result.stderr.endswith("scikit-learn is missing; install it with: pip install scikit-learn\n")
