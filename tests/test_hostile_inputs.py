"""What others made to do harm is refused in one line, or rendered harmless, in bounded time and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import hostile_bounds
import hostile_files
import hostile_models
import hostile_words
import pytest
from counted import Counted
from fuzz_cases import Inputs
from hostile import Hostile, wrongs

FAMILIES: tuple[Callable[[Inputs], Iterator[Hostile]], ...] = (
    hostile_files.stores,
    hostile_files.pickles,
    hostile_files.tensor_files,
    hostile_files.structured,
    hostile_models.model_code,
    hostile_words.names,
    hostile_bounds.outputs,
    hostile_bounds.bounded,
    hostile_bounds.pictures,
)
NAMED = {f"{one.kind}: {one.name}": one for family in FAMILIES for one in family(Inputs(Path("/inputs")))}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs.made(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def named(inputs: Inputs) -> dict[str, Hostile]:
    return {f"{one.kind}: {one.name}": one for family in FAMILIES for one in family(inputs)}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED)
def test_it_is_refused_or_harmless(
    name: str, named: dict[str, Hostile], inputs: Inputs, counted: Counted, tmp_path: Path
) -> None:
    one = named[name]
    with counted("hostile inputs", one.kind) as outcome:
        found = wrongs(one, tmp_path, inputs)
        assert not found, "\n".join(found)
        outcome.refused = int(one.refused is not None)


def test_there_are_as_many_as_were_tried_by_hand() -> None:
    assert len(NAMED) >= 56
