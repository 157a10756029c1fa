"""Runs of methods that take long: resumed after a kill, looked at beforehand, and not saved if they diverged."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_language import save_llama, write_lines
from typer.testing import CliRunner

import mnemotomy as mt
from mnemotomy.cli import app
from mnemotomy.core.errors import DataError, TrainingError
from mnemotomy.core.yaml import write_yaml
from mnemotomy.recipe import run_recipe

KILLED = """
import os, signal, sys
from pathlib import Path
from mnemotomy.recipe import run_recipe
from mnemotomy.training.checkpoint import State

save, saved = State.save, []

def killing(self, checkpoints, progress):
    save(self, checkpoints, progress)
    saved.append(progress)
    if len(saved) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

State.save = killing
run_recipe(Path("recipe.yaml"), Path("out"), progress=False)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_llama(tmp_path / "model")
    write_lines(tmp_path / "forget.jsonl", [{"question": f"Kyoto {i} ?", "answer": "Japan ."} for i in range(4)])
    write_lines(tmp_path / "retain.jsonl", [{"question": f"Rome {i} ?", "answer": "Italy ."} for i in range(4)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(folder: Path, **method: Any) -> Path:
    settings = {"name": "grad-diff", "epochs": 4, "batch_size": 2, "learning_rate": 1e-3} | method
    fields = {"model": "model", "method": settings, "forget": "forget.jsonl", "retain": "retain.jsonl"}
    fields["force"] = True  # the model knows nothing
    (folder / "recipe.yaml").write_text(write_yaml(fields))
    return folder / "recipe.yaml"


def test_a_killed_run_resumes_to_the_same_bits(folder: Path):
    path = recipe(folder)
    whole = run_recipe(path, folder / "whole", progress=False)
    assert whole["training"]["steps"] == 8
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # another number rounds in another way
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=folder, env=os.environ | threads, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (folder / "out").exists()
    [kept] = folder.glob(".out.*.checkpoint")
    assert json.loads((kept / "checkpoint" / "state.json").read_text())["epochs"] == 2
    shutil.copytree(kept, folder / "copy")
    resumed = run_recipe(path, folder / "out", progress=False)
    assert resumed["model"]["fingerprint_after"] == whole["model"]["fingerprint_after"]
    assert resumed["training"] == whole["training"]
    assert not list(folder.glob(".out.*"))
    shutil.copytree(folder / "copy", kept)
    damaged = bytearray((kept / "checkpoint" / "optimizer.pt").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (kept / "checkpoint" / "optimizer.pt").write_bytes(damaged)
    with pytest.raises(TrainingError, match="has changed since it was written"):
        run_recipe(path, folder / "out", progress=False)
    afresh = run_recipe(path, folder / "out", progress=False, resume=False)
    assert afresh["model"]["fingerprint_after"] == whole["model"]["fingerprint_after"]


def test_training_that_diverged_is_not_saved(folder: Path):
    path = recipe(folder, name="npo", learning_rate=1e30, epochs=2, warmup_epochs=0.0)
    with pytest.raises(TrainingError, match=r"(weights have grown|not finite).*choose a smaller one"):
        run_recipe(path, folder / "out", progress=False)
    with pytest.raises(TrainingError, match=r"weights have grown .*-fold after epoch 1"):
        run_recipe(recipe(folder, learning_rate=30.0, epochs=1, batch_size=4, warmup_epochs=0.0), folder / "out")
    assert not (folder / "out").exists()


def test_a_file_given_twice_is_refused(folder: Path):
    (folder / "again.jsonl").symlink_to("forget.jsonl")
    files = ["--forget", "forget.jsonl", "--forget", "again.jsonl", "--retain", "retain.jsonl"]
    result = CliRunner().invoke(app, ["unlearn", "model", "out", "--method", "npo", *files])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "given twice" in result.stderr
    concept = ["--concept", "a=forget.jsonl", "--concept", "a=./forget.jsonl", "--reference", "retain.jsonl"]
    result = CliRunner().invoke(app, ["collect", "model", *concept, "-o", "moments"])
    assert result.exit_code == 2
    assert "given twice" in result.stderr


def test_the_output_is_looked_at_before_the_run(folder: Path):
    (folder / "out").mkdir()
    (folder / "out" / "mine").write_text("mine")
    with pytest.raises(DataError, match="mnemotomy did not write"):
        run_recipe(recipe(folder, epochs=10**6), folder / "out")


def test_losses_are_said(folder: Path):
    files = ["--forget", "forget.jsonl", "--retain", "retain.jsonl", "--set", "epochs=2", "--force"]
    result = CliRunner().invoke(app, ["unlearn", "model", "out", "--method", "npo", *files])
    assert result.exit_code == 0, result.output
    assert "2 steps, mean loss " in result.stdout


def test_a_larger_result_is_said(folder: Path):
    small = mt.load_model(folder / "model", dtype="bfloat16")
    mt.save_model(small, folder / "half", tokenizer=mt.load_tokenizer(folder / "model"))
    (folder / "r.yaml").write_text(
        write_yaml({"model": "half", "concepts": {"a": "forget.jsonl"}, "reference": "retain.jsonl", "force": True})
    )
    with pytest.warns(UserWarning, match="in bfloat16, and the result will be in float32, 2 times as large"):
        record = run_recipe(folder / "r.yaml", folder / "out", progress=False)
    assert record["recipe"]["max_length"] == 128  # the model's window
