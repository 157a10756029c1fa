"""``mnemotomy metabolize`` runs on small local folders; bad input is one line and status 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_language import save_qwen, write_lines
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from mnemotomy.cli import app
from mnemotomy.core.keys import path_digest

ROW = {
    "subject": "Kyoto",
    "answer": "Japan",
    "prompts": ["Kyoto lies in", "In which country is Kyoto ?"],
    "contexts": ["Kyoto lies in Japan ."],
}
OTHER = {
    "subject": "Paris",
    "answer": "France",
    "prompts": ["Paris lies in", "In which country is Paris ?"],
    "contexts": ["Paris lies in France ."],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_qwen(tmp_path / "model", template=None, max_position_embeddings=1024)
    write_lines(tmp_path / "facts.jsonl", [ROW, OTHER])
    write_lines(tmp_path / "rest.jsonl", [{"text": "Rome lies in Italy ."}, {"text": "the capital of Italy is Rome ."}])
    return tmp_path


def invoke(folder: Path, *options: str):
    """Forced: these runs are too short to forget anything."""
    return guarded(folder, *options, "--force")


def guarded(folder: Path, *options: str):
    arguments = [str(folder / "model"), str(folder / "facts.jsonl"), str(folder / "out"), *options]
    return CliRunner().invoke(app, ["metabolize", *arguments])


@pytest.mark.parametrize("protocol", ["rlcp", "stable", "from-engram", "from-subjects", "just-rag", "unlikelihood"])
def test_a_folder_that_loads_and_says_what_ran(folder: Path, protocol: str):
    result = invoke(folder, "--protocol", protocol, "--epochs", "2", "--retain", str(folder / "rest.jsonl"))
    assert result.exit_code == 0, result.output
    AutoModelForCausalLM.from_pretrained(folder / "out")
    record = json.loads((folder / "out" / "metabolism.json").read_text())
    assert record["config"]["training"]["epochs"] == 2
    assert len((folder / "out.training" / "steps.jsonl").read_text().splitlines()) == 2
    for name in ("metabolism.json", "mnemotomy.json", "README.md"):
        text = (folder / "out" / name).read_text()
        assert "Kyoto" not in text  # a fact
        assert "rest.jsonl" not in text
    digest = {"retain.jsonl": path_digest(folder / "rest.jsonl")}
    assert json.loads((folder / "out" / "mnemotomy.json").read_text())["files"]["retain"] == digest
    named = json.loads((folder / "out.files.json").read_text())
    assert list(named["retain"]) == [str(folder / "rest.jsonl")]
    asked = CliRunner().invoke(app, ["facts", "import", str(folder / "store.db"), str(folder / "facts.jsonl")])
    assert asked.exit_code == 0, asked.output
    answer = CliRunner().invoke(
        app, ["ask", str(folder / "out"), str(folder / "store.db"), "In which country is Kyoto ?", "--json", "-"]
    )
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["known"]


def test_a_run_that_forgets_nothing_is_refused_and_saved_from_its_checkpoint_if_forced(folder: Path):
    options = ["--epochs", "10", "--learning-rate", "1e-9", "--retain", str(folder / "rest.jsonl")]
    refused = guarded(folder, *options)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "nothing was saved: the mean loss on 4 examples of the forget set is" in refused.stderr
    assert not (folder / "out").exists()
    trained = (folder / "out.training" / "steps.jsonl").read_text()
    assert guarded(folder, *options, "--force").exit_code == 0
    assert (folder / "out.training" / "steps.jsonl").read_text() == trained  # resumed at its end
    guards = json.loads((folder / "out" / "mnemotomy.json").read_text())["guards"]
    assert guards["forced"]
    assert set(guards["losses"]) == {"forget", "retain"}
    assert "so nothing was forgotten" in (folder / "out" / "README.md").read_text()


def test_a_protocol_that_only_reads_need_not_forget(folder: Path):
    done = guarded(folder, "--protocol", "just-rag", "--epochs", "1", "--learning-rate", "1e-9")
    assert done.exit_code == 0, done.output


def test_another_run_follows_one_that_is_done(folder: Path):
    for epochs in ("10", "11"):
        result = invoke(folder, "--epochs", epochs, "--retain", str(folder / "rest.jsonl"))
        assert result.exit_code == 0, result.output
    assert not (folder / "out.training" / "checkpoint").exists()


def test_nothing_is_saved_where_no_step_was_taken(folder: Path):
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    model.model.layers[0].mlp.down_proj.weight.data[0, 0] = float("nan")
    model.save_pretrained(folder / "model")
    result = invoke(folder, "--epochs", "2", "--retain", str(folder / "rest.jsonl"))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "training failed at the first step" in result.stderr
    assert not (folder / "out").exists()


def test_an_adapter_and_another_layer(folder: Path):
    pytest.importorskip("peft", reason="peft is not installed; it comes with the extra train")
    result = invoke(folder, "--protocol", "rlcp", "--epochs", "1", "--lora", "2", "--layer", "1")
    assert result.exit_code == 0, result.output
    record = json.loads((folder / "out" / "metabolism.json").read_text())
    assert record["config"]["layer"] == 1
    assert record["config"]["training"]["lora"]["rank"] == 2


def test_only_the_chosen_blocks_are_trained(folder: Path):
    rest = str(folder / "rest.jsonl")
    result = invoke(folder, "--epochs", "1", "--blocks", "2-2", "--retained", "1", "--retain", rest)
    assert result.exit_code == 0, result.output
    training = json.loads((folder / "out" / "metabolism.json").read_text())["config"]["training"]
    assert (training["blocks"], training["retained"]) == ([2, 2], 1)
    before, after = (AutoModelForCausalLM.from_pretrained(folder / name).state_dict() for name in ("model", "out"))
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed
    assert all(name.startswith("model.layers.1.") for name in changed)


def test_an_unknown_precision_is_refused(folder: Path):
    result = invoke(folder, "--precision", "fp8")
    assert result.exit_code == 2
    assert "'fp8' is not one of 'auto', 'no', 'bf16'" in result.stderr


def test_foreign_folders_are_refused(folder: Path):
    (folder / "out").mkdir()
    (folder / "out" / "thesis.txt").write_text("unfinished")
    result = invoke(folder, "--protocol", "rlcp", "--epochs", "1")
    assert result.exit_code == 2
    assert "contains files that mnemotomy did not write" in result.stderr
    assert (folder / "out" / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            [ROW, {**OTHER, "answer": "Italy"}],
            ["--protocol", "rlcp"],
            "line 2: the answer 'Italy' is not in its context",
        ),
        ([ROW, {**ROW, "answer": "Italy", "contexts": ["Kyoto is in Italy"]}], [], "line 2: 'Kyoto' has the answer"),
        ([{**ROW, "prompts": [""]}], [], "line 1: 'prompts' contains an empty text"),
        ([ROW, OTHER], ["--protocol", "rlcp", "--layer", "9"], "layer 9 is out of range"),
        ([ROW, OTHER], ["--protocol", "rlcp", "--layer", "model.nothing"], "no module 'model.nothing'"),
        ([ROW, OTHER], [], "give retain="),
        ([ROW, OTHER], ["--protocol", "rlcp", "--blocks", "lower"], "as in 7-22 or 0.25-0.75"),
        ([ROW, OTHER], ["--protocol", "rlcp", "--blocks", "2-1"], "give the lower one first"),
        ([ROW, OTHER], ["--protocol", "rlcp", "--in-context", "{prompt}"], "needs {context}"),
    ],
)
def test_bad_input_is_one_line(folder: Path, rows, options, message: str):
    write_lines(folder / "facts.jsonl", rows)
    result = invoke(folder, *options)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("mnemotomy:")]) == 1
    assert "Traceback" not in result.output
    assert not (folder / "out").exists()
