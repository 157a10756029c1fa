"""``mnemotomy forget`` with subjects and neighbours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from commands import fails
from forget_command import forget, record
from tiny_language import write_lines
from typer.testing import CliRunner

import mnemotomy as mt
from mnemotomy.cli import app

NEIGHBOURS = ("--neighbours", "others.jsonl")


def named(*cities: str) -> None:
    """The files about these cities, with subjects; and neighbours, without answers."""
    for city in cities:
        rows = [json.loads(line) for line in Path(f"{city}.jsonl").read_text().splitlines()]
        write_lines(Path(f"{city}.jsonl"), [row | {"subject": city} for row in rows])
    write_lines(Path("others.jsonl"), [{"subject": "the capital", "prompts": "In which country is the capital?"}])


@pytest.mark.usefixtures("cities")
def test_the_edit_is_told_saved_and_repeated_without_naming_anything() -> None:
    named("Kyoto", "Rome")
    asked = ["--forget", "Kyoto.jsonl", "--retain", "Paris.jsonl", "--retain", "Rome.jsonl", *NEIGHBOURS]
    done = forget(*asked, "--force", trials=1)
    assert done.exit_code == 0, done.output
    assert "note: edits at the subjects are of the MLPs in 1 of the 2 blocks, with 1 name to forget and " in done.stderr
    assert "best: at the subjects, MLPs of the lowest 30 % of the blocks: projector on μ > 0.2, α = 1" in done.stdout
    found = record()
    assert found["chosen"]["subjects"] is True
    assert list(found["files"]["neighbours"]) == ["neighbours.jsonl"]
    assert "at the subjects, MLPs of the lowest 30 % of the blocks" in Path("out", "README.md").read_text()
    for file in ("README.md", "recipe.yaml", "mnemotomy.json"):
        text = Path("out", file).read_text()
        assert not any(private in text for private in ("Kyoto", "Rome", "the capital", "others.jsonl"))
    assert yaml.safe_load(Path("out", "recipe.yaml").read_text())["neighbours"] == ["neighbours.jsonl"]
    again = CliRunner().invoke(app, ["apply", "out.recipe.yaml", "again", "--force"])
    assert again.exit_code == 0, again.output
    expected = dict(mt.load_model("out").named_parameters())
    torch.testing.assert_close(dict(mt.load_model("again").named_parameters()), expected, rtol=1e-3, atol=1e-5)
    Path("Kyoto.jsonl").write_text('{"question": "In which country is Kyoto?", "answer": "Japan"}')
    fails(CliRunner().invoke(app, ["apply", "out.recipe.yaml", "third", "--force"]), "'subject' is missing")


@pytest.mark.usefixtures("cities")
@pytest.mark.parametrize("asked", [["--about", "Kyoto"], ["--facts", "facts.db", "--subject", "Kyoto"]])
def test_a_name_and_facts_have_subjects_of_their_own(asked: list[str]) -> None:
    done = forget(*asked, "--retain", "Rome.jsonl", "--retain", "Paris.jsonl", "--force", "--yes", trials=1)
    assert done.exit_code == 0, done.output
    assert record()["chosen"]["subjects"] is True
    assert '"subject": "Kyoto"' in Path("out.forget.jsonl").read_text()


@pytest.mark.usefixtures("cities")
def test_what_is_wrong_with_subjects_and_neighbours_is_one_line() -> None:
    asked = ["--forget", "Kyoto.jsonl", "--retain", "Paris.jsonl", "--retain", "Rome.jsonl"]
    write_lines(Path("others.jsonl"), [{"subject": "Oslo", "prompts": "Oslo is in"}])
    fails(forget(*asked, *NEIGHBOURS), "no line to forget has a 'subject'")
    named("Kyoto")
    write_lines(Path("others.jsonl"), [{"subject": "Oslo", "prompts": "It is in"}])
    fails(forget(*asked, *NEIGHBOURS), "others.jsonl line 1: the subject 'Oslo' does not occur in 'It is in'")
    write_lines(Path("others.jsonl"), [{"subject": "Oslo"}])
    fails(forget(*asked, *NEIGHBOURS), "others.jsonl line 1: 'prompts' is empty")
    fails(forget(*asked, "--neighbours", "none.jsonl"), "none.jsonl")
    write_lines(Path("where.jsonl"), [{"question": "Where is it?", "answer": "France", "subject": "Paris"}])
    fails(
        forget(*asked, "--retain", "where.jsonl"),
        "where.jsonl line 1: the subject 'Paris' does not occur in 'Where is it?'",
    )
    assert not Path("out").exists()
