"""The command line in this process, and what every error of it looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mnemotomy.cli import app

Invoke = Callable[..., Result]

COLLECT = ["collect", "llama", "--concept", "kyoto=kyoto.jsonl", "--reference", "rest.jsonl", "-o", "m.safetensors"]
RECIPE = "model: llama\nconcepts: {kyoto: kyoto.jsonl}\nreference: rest.jsonl\nforce: true\n"
"""What the folder of ``tests/cli/conftest.py`` is asked to do."""


def call(*arguments: str, typed: str | None = None) -> Result:
    """The command with these arguments and this standard input; an error that it does not catch is raised."""
    return CliRunner().invoke(app, list(arguments), input=typed, catch_exceptions=False)


def evaluate(*arguments: str | Path) -> Result:
    """``mnemotomy evaluate`` with these arguments."""
    return call("evaluate", *map(str, arguments))


def work_beside(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make ``folder`` the current one, with links to all that is in ``source``."""
    for path in source.iterdir():
        (folder / path.name).symlink_to(path)
    monkeypatch.chdir(folder)
    return folder


def fails(result: Result, message: str) -> None:
    """Status 2, nothing on standard output, and one line on standard error with ``message`` in it."""
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("mnemotomy: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def says(caught: pytest.ExceptionInfo[Exception], where: str, message: str) -> None:
    """An error of one line that begins with the place and has ``message`` in it."""
    assert str(caught.value).startswith(f"{where}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
