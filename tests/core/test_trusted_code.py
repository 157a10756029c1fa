"""Python code of a model folder: never run by itself, and run where the user says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_language import concept_files, save_llama
from typer.testing import CliRunner

import mnemotomy as mt
from mnemotomy.cli import app
from mnemotomy.core.errors import ModelError
from mnemotomy.core.yaml import write_yaml
from mnemotomy.recipe import run_recipe

CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
Path({marker!r}).write_text("ran")

class OwnConfig(LlamaConfig):
    model_type = "own-llama"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with code of its own; running it leaves the file ``marker``."""
    for module in ("transformers.dynamic_module_utils", "transformers.utils.hub"):
        monkeypatch.setattr(f"{module}.HF_MODULES_CACHE", str(tmp_path / "modules"), raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    save_llama(tmp_path / "model")
    (tmp_path / "model" / "own.py").write_text(CODE.format(marker=str(tmp_path / "marker")))
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    names = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    config |= {"model_type": "own-llama", "architectures": ["OwnModel"], "auto_map": names}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    concept_files(tmp_path)
    return tmp_path


def test_code_is_not_run_by_itself(folder: Path):
    with pytest.raises(ModelError, match="give --trust-remote-code to run it"):
        mt.load_model(folder / "model")
    result = CliRunner().invoke(app, collecting(folder), input="y\n" * 9)
    assert result.exit_code == 2
    assert "--trust-remote-code" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (folder / "marker").exists()


def test_code_is_run_where_the_user_says_so(folder: Path):
    assert type(mt.load_model(folder / "model", trust_remote_code=True)).__name__ == "OwnModel"
    assert (folder / "marker").read_text() == "ran"
    result = CliRunner().invoke(app, [*collecting(folder), "--trust-remote-code"])
    assert result.exit_code == 0, result.output
    with pytest.raises(ModelError):  # the next call trusts nothing
        mt.load_model(folder / "model")


def test_a_recipe_says_so(folder: Path):
    fields = {"model": "model", "concepts": {"kyoto": "kyoto.jsonl"}, "reference": "rest.jsonl", "force": True}
    (folder / "r.yaml").write_text(write_yaml(fields))
    with pytest.raises(ModelError, match="trust-remote-code"):
        run_recipe(folder / "r.yaml", folder / "out", progress=False)
    (folder / "r.yaml").write_text(write_yaml({**fields, "trust_remote_code": True}))
    run_recipe(folder / "r.yaml", folder / "out", progress=False)
    assert type(mt.load_model(folder / "out", trust_remote_code=True)).__name__ == "OwnModel"


def collecting(folder: Path) -> list[str]:
    files = ["--concept", f"kyoto={folder / 'kyoto.jsonl'}", "--reference", str(folder / "rest.jsonl")]
    return ["collect", str(folder / "model"), *files, "-o", str(folder / "moments")]
