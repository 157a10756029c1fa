"""Results kept by their content, and the keys that name them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from mnemotomy.core.cells import Cells, json_cells
from mnemotomy.core.errors import ArtifactError
from mnemotomy.core.keys import LENGTH, file_digest, key


@dataclass(frozen=True)
class Settings:
    rate: float
    kinds: tuple[str, ...] = ("q",)


@dataclass(frozen=True)
class Others:
    rate: float
    kinds: tuple[str, ...] = ("q",)


def test_a_key_follows_its_parts_and_nothing_else():
    assert key({"a": 1, "b": [2]}, 3) == key({"b": (2,), "a": 1}, 3)
    different = [key(1, 2), key(2, 1), key([1, 2]), key(12), key("1", 2), key(None), key(), key(Settings(0.1)),
                 key(Settings(0.2)), key(Others(0.1)), key(Path("a")), key({"a": 1}), key(float("nan"))]  # fmt: skip
    assert len(set(different)) == len(different)
    assert {len(one) for one in different} == {LENGTH}
    assert key("an example that old results are found by") == "3e166cfcc8e920d9a37c67b7"
    with pytest.raises(TypeError, match="not of object"):
        key(object())


def test_the_digest_of_a_file(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_digest(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


def test_what_is_there_is_not_computed_again(tmp_path: Path):
    cells, name = json_cells(tmp_path / "cells"), key("x")
    assert name not in cells
    first = cells.kept(name, lambda: {"found": (1, 0.1 + 0.2)})
    assert first == {"found": [1, 0.1 + 0.2]}  # as it will be read
    assert name in cells
    assert cells.kept(name, lambda: pytest.fail("computed again")) == first
    cells.remove(name)
    assert cells.kept(name, lambda: {"found": 2}) == {"found": 2}


def test_a_failure_leaves_no_cell(tmp_path: Path):
    def fails() -> dict[str, int]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        json_cells(tmp_path).kept("a", fails)
    with pytest.raises(TypeError):
        json_cells(tmp_path).kept("a", lambda: {"half": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../a", "a/b", "/tmp/a", "a/../../b"])
def test_a_cell_outside_its_folder_is_refused(tmp_path: Path, name: str):
    with pytest.raises(ArtifactError, match="outside"):
        json_cells(tmp_path / "cells").kept(name, dict)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_cell_is_said_to_be(tmp_path: Path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"a\.json is damaged"):
        json_cells(tmp_path).kept("a", dict)


def test_other_kinds_of_files(tmp_path: Path):
    cells = Cells(tmp_path, ".txt", Path.read_text, lambda result, path: path.write_text(result))
    assert cells.kept("a", lambda: "text") == "text"
    assert (tmp_path / "a.txt").read_text() == "text"
