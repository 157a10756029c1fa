"""Bars: on a terminal, in a notebook, and nowhere else."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from typing import Any

import pytest
import rich.console

from mnemotomy.core.progress import progress_bar


class Output:
    """What rich shows a bar in, in a notebook."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def clear_output(self, **_: Any) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    Output.made = 0
    display = {"display": lambda *_: None, "HTML": str}
    for name, content in {"IPython": {}, "IPython.display": display, "ipywidgets": {"Output": Output}}.items():
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)


def test_a_bar_shows_in_a_notebook(notebook: None) -> None:
    with progress_bar("collecting", 2) as advance:
        advance(1)
    assert Output.made == 1


@pytest.mark.filterwarnings("error")
def test_without_widgets_there_is_no_bar_and_no_warning(notebook: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.setattr("mnemotomy.core.progress.find_spec", lambda name: None)
    with progress_bar("collecting", 2) as advance:
        advance(1)
    assert Output.made == 0


def test_elsewhere_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("collecting", 2) as advance:
        advance(1)
    assert capsys.readouterr() == ("", "")
