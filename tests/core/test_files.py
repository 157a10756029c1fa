"""Files that are whole or absent, and outputs that are no files."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import QUIET, mlp, randn

import mnemotomy as mt
from mnemotomy.core.errors import DataError
from mnemotomy.core.files import check_file, check_replaceable, output_file, write_text
from mnemotomy.core.keys import file_digest
from mnemotomy.recipe.file import load_recipe
from mnemotomy.text.records import read_examples


@pytest.fixture
def pipe(tmp_path: Path) -> tuple[Path, Callable[[], bytes]]:
    """A pipe, and what was written to it."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no pipes here")
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()), daemon=True)
    reader.start()

    def written() -> bytes:
        reader.join(10)
        assert path.is_fifo()
        assert list(tmp_path.iterdir()) == [path]
        return read[0]

    return path, written


def _atlas() -> mt.Atlas:
    model = mlp(5, 6, 3)
    return mt.Atlas(model, mt.collect(model, {name: [randn(6, 5, seed=ord(name))] for name in "ab"}, options=QUIET))


def _figure(path: Path) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    from mnemotomy.report.figures import save

    save(Figure(), path)


@pytest.mark.parametrize(
    ("write", "begins"),
    [
        (lambda path: write_text(path, "whole"), b"whole"),
        (lambda path: mt.write_facts(path, [mt.Fact("Kyoto", "Japan")]), b'{"subject"'),
        (lambda path: _atlas().moments.save(path, progress=None), b""),
        (lambda path: mt.erase(_atlas(), "a").save(path), b""),
        (_figure, b"\x89PNG"),
    ],
    ids=["text", "facts", "moments", "edit", "figure"],
)
def test_a_pipe_is_written_to_and_stays(
    pipe: tuple[Path, Callable[[], bytes]], write: Callable[[Path], None], begins: bytes
) -> None:
    path, written = pipe
    write(path)
    content = written()
    assert content
    assert content.startswith(begins)


def test_moments_arrive_whole_through_a_pipe(pipe: tuple[Path, Callable[[], bytes]], tmp_path: Path) -> None:
    path, written = pipe
    moments = _atlas().moments
    moments.save(path)
    (copy := tmp_path / "copy.safetensors").write_bytes(written())
    again = mt.Moments.load(copy)
    for concept in "ab":
        assert torch.equal(again.moment("0", concept).triangle, moments.moment("0", concept).triangle)


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with output_file(path) as file:
            file.write_text("half")
            raise ValueError("halfway")

    with pytest.raises(ValueError, match="halfway"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "target.txt").write_text("old")
    (link := tmp_path / "link.txt").symlink_to("target.txt")
    write_text(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "target.txt").read_text() == "new"
    with pytest.raises(IsADirectoryError, match="name a file"):
        write_text(tmp_path, "x")


def test_paths_that_lead_nowhere_are_refused_in_words(tmp_path: Path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="not a path that can be followed"):
        check_file(tmp_path / "loop")
    with pytest.raises(DataError, match=r"cannot be replaced|contains files"):
        check_replaceable(Path("/"), "config.json")
    with pytest.raises(DataError, match="not UTF-8"):
        check_replaceable(tmp_path / "\udcff", "config.json")


def test_a_named_pipe_is_no_input(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="named pipe"):
        file_digest(tmp_path / "pipe")
    with pytest.raises(DataError, match="named pipe"):
        read_examples(tmp_path / "pipe")
    with pytest.raises(DataError, match="named pipe"):
        load_recipe(tmp_path / "pipe")
    reading, writing = os.pipe()  # as of a shell's <(command)
    os.write(writing, b'{"text": "a"}\n')
    os.close(writing)
    assert len(read_examples(f"/dev/fd/{reading}")) == 1
