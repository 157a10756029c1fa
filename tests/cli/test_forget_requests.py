"""Requests to forget one after the other, and the commands of the example."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from string import Template

import pytest
from forget_command import OPTIONS, record
from learned_cities import examples, known
from typer.testing import CliRunner

import mnemotomy as mt
from mnemotomy.cli import app
from mnemotomy.core.keys import file_digest


@pytest.mark.usefixtures("cities")
def test_requests_one_after_the_other_are_recorded_and_audited() -> None:
    source, asked = "model", list[str]()
    for city, other in (("Kyoto", "Rome"), ("Paris", "Rome"), ("Rome", "Kyoto")):
        done = CliRunner().invoke(
            app, ["forget", source, city, "--trials", "2", *OPTIONS, "--forget", f"{city}.jsonl",
                  "--retain", f"{other}.jsonl", "--force"],
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        found = record(city)
        assert [one["files"]["forget"]["forget.jsonl"] for one in found.get("earlier", [])] == asked
        assert ("requests before this one: " in done.stderr) == bool(asked)
        asked.append(file_digest(f"{city}.jsonl"))
        source = city
    first, second = found["earlier"]
    names = [f"2 examples, SHA-256 {asked[number][:12]}, {found['date']}" for number in range(2)]
    assert f"requests before this one: {'; '.join(names)}. Costs add up" in done.stderr
    assert first["fingerprint_after"] == second["fingerprint_before"]
    assert second["fingerprint_after"] == found["model"]["fingerprint_before"]
    assert first["chosen"]["name"]
    card = Path("Rome", "README.md").read_text()
    assert "**Before this**, the model was changed 2 times" in card
    assert not any(name in card for name in ("Kyoto.jsonl", "Paris.jsonl", "Rome.jsonl"))
    for number, name in enumerate(names, start=1):
        assert re.search(rf"\| {number} \| {name} \| [\d.]+ % to [\d.]+ % \|", card)
    audited = CliRunner().invoke(
        app, ["audit", "Paris", "Rome", "audit", "--forget", "Rome.jsonl", "--earlier", "Kyoto.jsonl",
              "--earlier", "Paris.jsonl", "--only", "greedy", *OPTIONS[:4]],
    )  # fmt: skip
    assert audited.exit_code == 0, audited.output
    assert "The earlier request Kyoto.jsonl is still " in audited.stdout
    report = Path("audit", "deletion-report.md").read_text()
    assert f"earlier forget, 2, file, SHA-256: `{asked[1]}`" in report
    assert "The earlier request 2 is still " in report
    assert "jsonl" not in report
    earlier = json.loads(Path("audit", "audit.json").read_text())["earlier"]
    assert list(earlier) == ["Kyoto.jsonl", "Paris.jsonl"]
    assert known(mt.load_model("Rome"), examples(["Rome"])) < known(mt.load_model("model"), examples(["Rome"]))


@pytest.mark.usefixtures("cities")
def test_the_commands_of_the_example_are_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    here, root = Path.cwd(), Path(__file__).parents[2]
    names = {"MODEL": str(here / "model"), "OUT": str(here / "japan")}
    text = (root / "examples" / "forget_japan.sh").read_text().replace("|\n", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("mnemotomy ")]
    assert [line.split()[1] for line in lines] == ["forget", "audit", "chat"]
    monkeypatch.chdir(root)
    for line, less, status in zip(
        lines, (["--trials", "2", "--force"], ["--only", "greedy"], []), (0, 0, 0), strict=True
    ):
        _, *arguments = [Template(word).substitute(names) for word in shlex.split(line)]
        if "audit" in arguments:
            arguments = [word for word in arguments if word not in ("--only", "asking", "damage")]
        done = CliRunner().invoke(app, [*arguments, *less], input="Kyoto lies in\n")
        assert done.exit_code == status, done.output
    assert mt.load_model(here / "japan")
    assert (here / "japan-audit" / "audit.html").exists()
