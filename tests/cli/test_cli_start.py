"""The command line: help, versions, and a fast start."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from commands import Invoke, call

import mnemotomy as mt
from mnemotomy.cli import main

COMMANDS = ["demo", "collect", "trace", "apply", "metabolize", "ask", "doctor"]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """In a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return call


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(invoke: Invoke, command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"Example:\n    mnemotomy {command}" in result.stdout


def test_help_and_version(invoke: Invoke) -> None:
    shown = invoke("--help").stdout
    assert all(f"\n  {command} " in shown for command in COMMANDS)
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"mnemotomy {mt.__version__}\n")
    assert invoke().exit_code == 2
    assert invoke("no-such-command").exit_code == 2
    assert invoke("collect", "llama").exit_code == 2


def test_nothing_heavy_is_imported_for_help() -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from mnemotomy.cli import app\n"
        "for command in [[], ['collect'], ['trace'], ['apply'], ['demo'], ['doctor']]:\n"
        "    assert CliRunner().invoke(app, [*command, '--help']).exit_code == 0\n"
        "heavy = ('torch', 'transformers', 'pandas', 'numpy', 'ruamel.yaml')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_package_is_lazy_and_complete() -> None:
    assert set(mt.__all__) <= set(dir(mt))
    for name in mt.__all__:
        assert getattr(mt, name).__name__.rpartition(".")[-1] == name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = mt.nothing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["facts", "search", "x.db", "y", "-k", "-1"], "Invalid value for '-k': Input should be greater than"),
        (["collect"], "Missing argument 'model'; see 'mnemotomy collect --help'"),
        (["nothing"], "No such command 'nothing'; see 'mnemotomy --help'"),
    ],
)
def test_a_wrong_call_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    monkeypatch.setattr("warnings.formatwarning", warnings.formatwarning)  # main replaces it
    monkeypatch.setattr("sys.argv", ["mnemotomy", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out, printed.err.count("\n")) == (2, "", 1)
    assert printed.err.startswith(f"mnemotomy: {message}")


def test_nothing_asked_for_shows_the_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("warnings.formatwarning", warnings.formatwarning)  # main replaces it
    monkeypatch.setattr("sys.argv", ["mnemotomy", "facts"])
    with pytest.raises(SystemExit):
        main()
    assert "Commands:" in capsys.readouterr().err


def test_an_interruption_outside_any_command_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("warnings.formatwarning", warnings.formatwarning)  # main replaces it
    monkeypatch.setattr("sys.argv", ["mnemotomy", "methods"])
    monkeypatch.setattr("typer.core.TyperGroup.invoke", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "mnemotomy: interrupted\n")


def test_the_package_imports_nothing_before_the_command_begins() -> None:
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; before = set(sys.modules); import mnemotomy; "
        "print(len(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-Ic", code], capture_output=True, check=True)
    assert int(done.stdout) <= 8


@pytest.mark.parametrize("own", [None, "7"])
def test_threads_that_wait_leave_the_cores_to_others(own: str | None) -> None:
    script = (
        "import os, sys; sys.argv = ['mnemotomy', 'methods', 'two-sided']\n"
        "from mnemotomy.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: print(os.environ['GOMP_SPINCOUNT'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    given = environment if own is None else environment | {"GOMP_SPINCOUNT": own}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=given)
    assert done.stdout.splitlines()[-1] == (own or "1000")
