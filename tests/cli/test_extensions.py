"""Commands of other distributions: present, broken, absent; none of them is in our own commands' way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from commands import fails
from typer.testing import CliRunner, Result

from mnemotomy.cli import extensions
from mnemotomy.cli.extensions import add_extensions

MODULE = """
import typer
group = typer.Typer()

@group.command()
def first(count: int = 1):
    typer.echo(f"first {count}")

@group.command()
def second():
    typer.echo("second")

def single(word: str):
    typer.echo(word)
"""


def distribution(folder: Path, module: str, source: str, **points: str) -> None:
    """A distribution on the path, as pip leaves one: its module and its entry points."""
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {target}\n" for name, target in points.items())
    (info / "entry_points.txt").write_text(f"[{extensions.GROUP}]\n{lines}")


def call(*arguments: str) -> Result:
    """In an application of its own command, ``ours``, to which the extensions were added."""
    app = typer.Typer()
    app.command()(ours)
    add_extensions(app)
    return CliRunner().invoke(app, list(arguments))


def ours() -> None:
    typer.echo("ours")


def test_what_is_installed_is_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(
        tmp_path, "someones_extension", MODULE, extra="someones_extension:group", say="someones_extension:single"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert call("extra", "first", "--count", "3").stdout == "first 3\n"
    assert call("extra", "second").stdout == "second\n"
    assert call("say", "yes").stdout == "yes\n"
    shown = call("--help").stdout
    assert all(name in shown for name in ("ours", "extra", "say"))


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("import no_such_module_at_all", "broken_extension:app", "No module named 'no_such_module_at_all'"),
        ("raise ValueError('two\\nlines')", "broken_extension:app", "two lines"),
        ("", "broken_extension:app", "has no attribute 'app'"),
        ("raise SystemError('gone')", "broken_extension", "gone"),
    ],
)
def test_what_is_broken_takes_nothing_else_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str, message: str
) -> None:
    distribution(tmp_path, "broken_extension", source, broken=target)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_extension", raising=False)
    for arguments in (["broken"], ["broken", "run", "--fast", "-x"], ["broken", "--help"]):
        fails(call(*arguments), message)
    fails(call("broken"), "'broken' of broken_extension cannot be loaded")
    assert call("ours").stdout == "ours\n"
    assert "broken" not in call("--help").stdout


def test_what_is_absent_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extensions, "entry_points", lambda group: [])
    for arguments in (["bench"], ["bench", "tofu", "--scale", "tiny"], ["bench", "--help"]):
        fails(call(*arguments), "the command 'bench' is not installed: the experiments are a separate distribution")
    assert "pip install -e experiments" in call("bench").stderr
    assert call("ours").stdout == "ours\n"
    assert "bench" not in call("--help").stdout


def test_starting_loads_nothing_heavy_whatever_is_installed() -> None:
    script = (
        "import sys, mnemotomy.cli\n"
        "print([name for name in ('torch', 'transformers', 'pandas', 'numpy', 'ruamel.yaml', 'pydantic') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
