"""Ctrl-C at each stage of ``forget`` and ``audit`` is one line, and the same command then resumes."""

from __future__ import annotations

import importlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from forget_command import forget, record
from typer.testing import CliRunner

from mnemotomy import __main__ as command
from mnemotomy.cli import app

importlib.import_module("mnemotomy.recipe.run")  # else it is first imported under a patch, and keeps it

ASKED = ("--forget", "Kyoto.jsonl", "--retain", "Rome.jsonl", "--force")


def interrupt(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def check(result: Any, *, resumes: str = "") -> None:
    assert result.exit_code == 130
    last = result.stderr.splitlines()[-1]
    assert last == f"mnemotomy: interrupted; the same command resumes from {resumes}" if resumes else last


@pytest.mark.usefixtures("cities")
@pytest.mark.parametrize(
    ("stage", "resumes"),
    [
        ("core.models.load_model", ""),
        ("forget.forgetting.prepare", ""),
        ("forget.forgetting.written_texts", ".out.study.written"),
        ("forget.forgetting.collect", ".out.study.written"),
        ("forget.found.FactoredConcept", ".out.study.written"),
        ("forget.forgetting.Judge", ".out.study.written"),
        ("forget.search.Search.try_", ".out.study.db"),
        ("recipe.forgotten.save_with_record", ""),
    ],
)
def test_forget(stage: str, resumes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = set(Path().iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(f"mnemotomy.{stage}", interrupt)
        check(forget(*ASKED, trials=2), resumes=resumes)
    assert {one.name for one in set(Path().iterdir()) - there} <= {".out.study.db", ".out.study.written"}
    assert forget(*ASKED, trials=2).exit_code == 0
    assert len(record()["tried"]) == 2


@pytest.mark.usefixtures("cities")
@pytest.mark.parametrize(
    ("stage", "resumes"),
    [
        ("core.models.load_model", ""),
        ("audit.run.made_up", ""),
        ("audit.reading._timed", "out"),
        ("audit.report.Report.save", ""),
    ],
)
def test_audit(stage: str, resumes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [
        "audit",
        "model",
        "model",
        "out",
        "--forget",
        "Kyoto.jsonl",
        "--only",
        "greedy",
        "--system",
        "",
        "--date",
        "",
    ]
    with monkeypatch.context() as patch:
        patch.setattr(f"mnemotomy.{stage}", interrupt)
        check(CliRunner().invoke(app, command, catch_exceptions=False), resumes=resumes)
    assert not Path("out", "audit.json").exists()
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0


def test_sigterm_is_as_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("mnemotomy.cli.main", lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with pytest.raises(SystemExit) as ended:
            command.main()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # a second one ends the process
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "mnemotomy: interrupted\n"
