"""A process that is killed leaves the old content whole or the new one, and the next run ends as if none had been."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import kill_runs
import kill_writers
import pytest
from counted import Counted
from killing import Writer, kills

FAMILIES: tuple[Callable[[], Iterator[Writer]], ...] = (
    kill_writers.of_files, kill_writers.of_artifacts, kill_writers.of_stores, kill_runs.of_commands, kill_runs.of_runs,
)  # fmt: skip
WRITERS = {writer.name: writer for family in FAMILIES for writer in family()}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_a_killed_writer_leaves_the_old_or_the_new(name: str, counted: Counted, tmp_path: Path) -> None:
    wrong = []
    with counted("kills", name) as outcome:
        for found in kills(WRITERS[name], tmp_path):
            wrong += [] if found is None else [found]
            outcome.right += found is None
            outcome.wrong += found is not None
    assert not wrong, "\n".join(wrong)


def test_there_are_as_many_kills_as_were_tried_by_hand() -> None:
    assert sum(writer.kills for writer in WRITERS.values()) >= 406
