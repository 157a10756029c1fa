"""Counts of many tries, in one table at the end of a run: what was tried of each kind, and how it ended."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

_PROPERTY = "counted"


@dataclass
class Outcome:
    """How the tries of one test ended."""

    right: int = 0
    refused: int = 0
    wrong: int = 0


Counted = Callable[[str, str], contextlib.AbstractContextManager[Outcome]]


@pytest.fixture
def counted(record_property: Callable[[str, Any], None]) -> Counted:
    """``counted(list, kind)``: one try, right unless the body says otherwise, and wrong if it raises."""

    @contextlib.contextmanager
    def counting(of: str, kind: str) -> Iterator[Outcome]:
        outcome = Outcome()
        try:
            yield outcome
        except BaseException:
            outcome.wrong = max(outcome.wrong, 1)
            raise
        finally:
            outcome.right += not (outcome.right or outcome.refused or outcome.wrong)
            record_property(_PROPERTY, [of, kind, outcome.right, outcome.refused, outcome.wrong])

    return counting


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A table per list: kind, tried, right, refused, wrong, seconds."""
    lists: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0] * 4))
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if getattr(report, "when", None) != "call":
            continue
        for name, value in report.user_properties:
            if name == _PROPERTY:
                of, kind, *numbers = value
                row = lists[of][kind]
                row[:] = [old + new for old, new in zip(row, [*numbers, report.duration], strict=True)]
    for of, kinds in lists.items():
        whole = [sum(row[place] for row in kinds.values()) for place in range(4)]
        terminalreporter.section(of)
        terminalreporter.write_line(f"{'kind':44}{'tried':>8}{'right':>8}{'refused':>9}{'wrong':>7}{'seconds':>9}")
        for kind, (right, refused, wrong, seconds) in [*kinds.items(), ("all", whole)]:
            counts = f"{right + refused + wrong:8.0f}{right:8.0f}{refused:9.0f}{wrong:7.0f}"
            terminalreporter.write_line(f"{kind:44}{counts}{seconds:9.1f}")
