"""``mnemotomy audit``: files, verdict, resumed readings, errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tiny_language import save_llama, write_lines
from typer.testing import CliRunner

from mnemotomy.cli import app

QUESTIONS = [(f"In which country is {city}?", country) for city, country in (("Kyoto", "Japan"), ("Rome", "Italy"))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_llama(tmp_path / "model", initializer_range=0.3, max_position_embeddings=512)
    write_lines(tmp_path / "forget.jsonl", ({"question": q, "answer": a} for q, a in QUESTIONS))
    write_lines(tmp_path / "retain.jsonl", [{"question": "Is Paris the capital of France?", "answer": "France"}])
    return tmp_path


def invoke(folder: Path, *arguments: str) -> Any:
    named = [str(folder / one) if (folder / one).exists() or one == "out" else one for one in arguments]
    return CliRunner().invoke(app, ["audit", *named])


def test_the_report_and_the_verdict_on_a_line_of_its_own(folder: Path):
    asked = [
        "model",
        "model",
        "out",
        "--forget",
        "forget.jsonl",
        "--retain",
        "retain.jsonl",
        "--earlier",
        "retain.jsonl",
    ]
    parts = ["--only", "greedy", "--only", "damage"]
    result = invoke(folder, *asked, *parts)
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("2 questions to ask 2 models; the audit takes less than a minute\n")
    assert "no verdict" in result.stdout.splitlines()  # a model that has learned nothing
    found = json.loads((folder / "out" / "audit.json").read_text())
    assert [one["attack"] for one in found["findings"]] == ["greedy", "retained", "perplexity", "fluency"]
    assert found["untested"] == ["Inside the model", "Membership", "Relearning and damaging the weights"]
    assert found["record"]["questions"] == {"forget": 2, "retain": 1}
    assert list(found["earlier"]) == [str(folder / "retain.jsonl")]
    page = (folder / "out" / "audit.html").read_text()
    assert "<h1>No verdict</h1>" in page
    assert "http" not in page  # nothing is loaded from outside
    text = (folder / "out" / "deletion-report.md").read_text()
    assert "2 questions, of which the model knew about 0 before." in text
    assert text.endswith("\n")
    assert "forget.jsonl" not in text  # a file may be named after the person
    assert re.search(r"- forget file, SHA-256: `[0-9a-f]{64}`\n", text)
    paths = {name: value for name, value in found["record"]["about"].items() if name.endswith("full path")}
    assert paths == {f"{role}, full path": str((folder / "model").resolve()) for role in ("before", "after")}
    assert "full path" not in text
    assert "<dt>after, full path</dt>" in page
    precision = found["record"]["settings"]["precision"]
    assert f"<dt>precision</dt><dd>{precision}: the models wrote in " in page
    assert f"- precision {precision}: the models wrote in " in text
    other = invoke(folder, "model", "other", *asked[2:], *parts)
    assert other.exit_code == 2
    assert "has the report on" in other.stderr
    assert found["record"]["models"]["before"] in text
    assert "- reference of the request:\n" in text
    assert "\n- Membership: " in text
    assert {"Asking", "Membership"} <= set(found["unrun"])  # of a part that was run in part, the rest
    assert "Asked plainly" not in found["unrun"]["Asking"]
    assert all(title in text for titles in found["unrun"].values() for title in titles)
    assert "| gold model |" not in text


def test_a_report_does_not_go_into_a_model(folder: Path):
    result = CliRunner().invoke(
        app, ["audit", *[str(folder / "model")] * 3, "--forget", str(folder / "forget.jsonl"), "--only", "greedy"]
    )
    assert result.exit_code == 2
    assert "is a model; name another folder for the report" in result.stderr
    assert not (folder / "model" / "audit.json").exists()


def test_a_second_run_reads_nothing_again_and_parts_can_be_added(folder: Path):
    asked = ["model", "model", "out", "--forget", "forget.jsonl", "--retain", "retain.jsonl"]
    assert invoke(folder, *asked, "--only", "greedy").exit_code == 0
    kept = {path: path.stat().st_mtime_ns for path in (folder / "out" / "readings").iterdir()}
    again = invoke(folder, *asked, "--only", "greedy", "--only", "retained")
    assert again.exit_code == 0
    assert "the audit takes less than a minute; less where an earlier run was kept\n" in again.stderr
    now = {path: path.stat().st_mtime_ns for path in (folder / "out" / "readings").iterdir()}
    assert kept.items() <= now.items()
    assert len(now) > len(kept)


def test_a_hold_out_that_is_added_is_all_that_is_read(folder: Path):
    write_lines(folder / "unseen.jsonl", [{"question": "In which country is Osaka?", "answer": "Peru"}])
    asked = ["model", "model", "out", "--forget", "forget.jsonl", "--retain", "retain.jsonl"]
    asked += ["--only", "greedy", "--only", "retained", "--only", "perplexity"]
    assert invoke(folder, *asked).exit_code == 0
    kept = set((folder / "out" / "readings").iterdir())
    first = json.loads((folder / "out" / "audit.json").read_text())["findings"]
    assert invoke(folder, *asked, "--holdout", "unseen.jsonl").exit_code == 0
    now = json.loads((folder / "out" / "audit.json").read_text())["findings"]
    assert len(set((folder / "out" / "readings").iterdir()) - kept) == 1  # the hold-out, asked plainly
    assert [one["means"]["after"] for one in now] == [one["means"]["after"] for one in first]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "everything"], "there is no part 'everything'; choose among asking"),
        (["--retain", "missing.jsonl"], "missing.jsonl"),
        (["--earlier", "missing.jsonl"], "missing.jsonl"),
        (["--retain", "forget.jsonl"], "2 examples of the forget set are in the retain set too, such as"),
        (["--holdout", "forget.jsonl"], "2 examples of the forget set are in the holdout set too, such as"),
        (["--tags"], "--tags is for tokenizers without a chat template"),
    ],
)
def test_errors_are_one_line(folder: Path, arguments: list[str], message: str):
    result = invoke(folder, "model", "model", "out", "--forget", "forget.jsonl", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
