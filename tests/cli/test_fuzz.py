"""Whatever it is given, the command line ends with 0, or with 2 and one line: no traceback, no hang, no half result."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import fuzz_cases
import fuzz_files
import pytest
from counted import Counted
from fuzz import Case, faults
from fuzz_cases import Inputs

SECONDS = 30
FAMILIES: dict[str, Callable[[Inputs], Iterator[Case]]] = {
    "options": fuzz_cases.options, "recipes": fuzz_cases.recipes, "model folders": fuzz_files.model_folders,
    "artifacts": fuzz_files.artifacts, "files": fuzz_files.files, "stores": fuzz_files.stores,
    "full disks": fuzz_files.full_disks, "unfinished": fuzz_files.unfinished,
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs.made(tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize("share", [8, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_call_ends_in_a_traceback(family: str, share: int, inputs: Inputs, tmp_path: Path, counted: Counted):
    cases = list(FAMILIES[family](inputs))
    chosen = sorted(random.Random(family).sample(range(len(cases)), min(share, len(cases))))
    with counted("fuzzed calls", family) as outcome:
        found = []
        for number in chosen:
            wrong = faults(cases[number], tmp_path / str(number), inputs.folder, SECONDS)
            arguments = [one[:80] for one in cases[number].arguments]
            found += [f"{family} {number}: {arguments}\n{fault}" for fault in wrong]
            outcome.wrong += bool(wrong)
        outcome.right = len(chosen) - outcome.wrong
    assert not found, f"{len(found)} of {len(chosen)} calls\n" + "\n".join(found)
