"""Bars: on a terminal and in a notebook; lines in a log, where the work is long."""

from __future__ import annotations

import sys
import types

import pytest
import rich.console

from mnemotomy.core.progress import progress_bar


class Display:
    """What a notebook shows in one place; a new display replaces the old one."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def __call__(self, text: str, display_id: bool) -> Display:
        assert display_id
        self.update(text)
        return self

    def update(self, text: str) -> None:
        self.shown.append(text)


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Display:
    made, module = Display(), types.ModuleType("IPython.display")
    vars(module).update(display=made, HTML=str)
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return made


def test_a_bar_shows_in_a_notebook_and_goes_away(display: Display) -> None:
    with progress_bar("a <b>", 2) as advance:
        advance(1, "a note")
        advance(1)  # at once: not shown
    before, after, gone = display.shown
    assert before == 'a &lt;b&gt; <progress value="0" max="2"></progress> 0/2 '
    assert after == 'a &lt;b&gt; <progress value="1" max="2"></progress> 1/2 a note'
    assert gone == ""


def test_work_of_unknown_length_is_counted(display: Display) -> None:
    with progress_bar("reading", None) as advance:
        advance(3)
    assert display.shown[1] == "reading  3 "


def test_short_work_writes_nothing_to_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("collecting", 2) as advance:
        advance(1)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A list whose last number is the time."""
    times = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: times[-1])
    return times


@pytest.mark.parametrize(
    ("total", "lines"),
    [
        (10, ["trials: 1/10, about 5 min left (projector)", "trials: 4/10, about 2 min left"]),
        (None, ["trials: 1 (projector)", "trials: 4"]),
    ],
)
def test_long_work_writes_a_line_a_minute_to_a_log(clock, capsys, total, lines) -> None:
    with progress_bar("trials", total) as advance:
        for seconds, steps, note in ((31.0, 1, "projector"), (60.0, 2, "soon"), (92.0, 1, "")):
            clock.append(seconds)
            advance(steps, note)
    shown = capsys.readouterr()
    assert (shown.out, shown.err.splitlines()) == ("", lines)


def test_a_log_is_empty_where_no_bar_is_wanted(clock, capsys) -> None:
    with progress_bar("trials", 2, enabled=False) as advance:
        clock.append(100.0)
        advance(1)
    assert capsys.readouterr() == ("", "")
