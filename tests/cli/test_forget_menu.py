"""``mnemotomy forget``: the menu at the end, and what is pushed to the hub."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forget_command import OPTIONS, forget, record
from typer.testing import CliRunner

from mnemotomy.cli import app
from mnemotomy.cli.forget import As
from mnemotomy.cli.forget import forget as command
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.keys import file_digest
from mnemotomy.forget.measuring import Judge
from mnemotomy.forget.scores import Details
from mnemotomy.text.records import read_examples


class Hub:
    """Stands for ``huggingface_hub.HfApi``."""

    calls: list[tuple[str, dict[str, Any]]]

    def create_repo(self, repository: str, **options: Any) -> None:
        self.calls.append((repository, options))

    def upload_folder(self, **options: Any) -> None:
        self.calls.append(("folder", options))

    def upload_file(self, **options: Any) -> None:
        raise ConnectionError("no network")


@pytest.mark.usefixtures("cities")
def test_the_result_is_pushed_without_the_texts_that_were_retained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr(Hub, "calls", [], raising=False)
    asked = ["--forget", "Kyoto.jsonl", "--retain", "Rome.jsonl", "--force", "--push", "me/forgotten"]
    done = forget(*asked)
    assert done.exit_code == 0, done.output
    assert "uploaded to me/forgotten" in done.stdout
    assert [name for name, _ in Hub.calls] == ["me/forgotten", "folder"]
    assert Hub.calls[1][1]["folder_path"] == "out"
    assert not list(Path("out").glob("*.jsonl"))  # other people's data, perhaps
    assert read_examples("out.retain.jsonl")
    assert record()["retained"] == {"retain.jsonl": file_digest("out.retain.jsonl")}
    failed = CliRunner().invoke(
        app, ["forget", "model", "e.safetensors", "--trials", "3", *OPTIONS, *asked, "--as", "edit"]
    )
    assert failed.exit_code == 2
    assert failed.stderr.splitlines()[-1].endswith("is saved, but cannot be uploaded to me/forgotten: no network")


@pytest.fixture
def menu(cities: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Types at the menu, on what passes for a terminal, and gives what was printed."""

    def typed(*lines: str, force: bool = True, **more: Any) -> str:
        answers = iter(lines)
        monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers))
        monkeypatch.setattr("typer.confirm", lambda *_, **__: next(answers) == "y")
        with monkeypatch.context() as patch:
            said: list[str] = []
            patch.setattr(sys.stdin, "isatty", lambda: True)
            patch.setattr(sys.stdout, "isatty", lambda: True)
            patch.setattr("mnemotomy.cli.outcome.typer.echo", lambda text="", **_: said.append(str(text)))
            command(
                model="model", out=Path("out"), forget=[Path("Kyoto.jsonl")], retain=[Path("Rome.jsonl")], trials=3,
                two_sided=False, system="", date="", force=force, **more,
            )  # fmt: skip
        assert next(answers, None) is None
        return "\n".join(said)

    return typed


def test_the_menu_saves_another_candidate(menu: Callable[..., str]) -> None:
    said = menu("nonsense", "99", "s", "q")
    assert said.count("give one of these letters, or the number of a candidate") == 2
    assert "out: saved" in said
    best = record()
    number = next(one["number"] for one in best["tried"] if one["candidate"] != best["chosen"] and one["scores"])
    menu(str(number), "s", "q")
    assert record()["chosen"] == best["tried"][number]["candidate"] != best["chosen"]


@pytest.mark.usefixtures("never_enough")
def test_the_menu_asks_before_it_saves_what_raises_concerns(menu: Callable[..., str]) -> None:
    menu("s", "n", "a", "n", "q", force=False)
    assert not Path("out").exists()
    menu("s", "y", "q", force=False)
    assert record()["concerns"]


def test_the_menu_and_the_record_have_what_suffered_and_the_result_is_saved(
    menu: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def suffered(judge: Judge, edit: Any) -> Details:
        return Details({}, ["other facts of the same kind suffered too"])

    monkeypatch.setattr(Judge, "details", suffered)
    said = menu("s", "q")
    assert said.count("warning: other facts of the same kind suffered too") == 1
    assert "out: saved" in said
    assert record()["cautions"] == ["other facts of the same kind suffered too"]
    assert "**Note:** other facts of the same kind suffered too." in Path("out", "README.md").read_text()


def test_an_error_leaves_the_menu(menu: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise ConfigurationError("the disk is full")

    monkeypatch.setattr("mnemotomy.recipe.forgotten.save_found", full)
    assert "mnemotomy: the disk is full" in menu("s", "q")


def test_the_menu_goes_on_searching(menu: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnemotomy.cli.forget_session.MORE", 2)
    menu("m", "s", "q")
    assert len(record()["tried"]) == 5


@pytest.mark.parametrize("more", [{}, {"as_": As.LORA, "rank": 1}], ids=["model", "lora"])
def test_the_menu_audits_what_it_saved_and_pushes_it(
    menu: Callable[..., str], monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    from mnemotomy.audit.options import AuditOptions

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr(Hub, "calls", [], raising=False)
    monkeypatch.setattr(
        AuditOptions.__init__, "__defaults__", (("greedy", "retained"), *AuditOptions.__init__.__defaults__[1:])
    )  # type: ignore[attr-defined, index]
    said = menu("a", "p", "a/b/c", "p", "me/forgotten", "q", **more)
    assert "out: saved" in said
    assert "out-audit: audit.html, audit.json, deletion-report.md" in said
    found = json.loads(Path("out-audit", "audit.json").read_text())
    assert found["record"]["models"]["after"] == record()["model"]["fingerprint_after"]
    assert [one["attack"] for one in found["findings"]] == ["greedy", "retained"]
    assert "--push 'a/b/c' is not a valid repository" in said
    assert "uploaded to me/forgotten" in said
