"""Content hashes: every change to a file is noticed, and the same content gives the same bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import QUIET, mlp, randn, same_state, state_of, tiny_llama
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_language import save_qwen

import mnemotomy as mt
from mnemotomy.core.cells import json_cells
from mnemotomy.core.errors import ArtifactError, MnemotomyError
from mnemotomy.core.integrity import BLANK, read_sealed, seal, write_sealed


def atlas() -> mt.Atlas:
    model = mlp(6, 5, 4)
    data = {"a": [randn(9, 6)], "b": [randn(20, 6, seed=1)]}
    return mt.Atlas(model, mt.collect(model, data, options=QUIET))


def moments_file(path: Path) -> Callable[[], Any]:
    atlas().moments.save(path)
    return lambda: mt.Moments.load(path)


def edit_file(path: Path) -> Callable[[], Any]:
    mt.erase(atlas(), "a").save(path)
    return lambda: mt.Edit.load(path)


def cell_file(path: Path) -> Callable[[], Any]:
    cells = json_cells(path.parent)
    cells.kept(path.stem, lambda: {"accuracy": 0.75, "texts": ["a", "b"]})
    path.unlink(missing_ok=True)
    cells.path(path.stem).rename(path)
    return lambda: read_sealed(path)


KINDS = {"moments": moments_file, "edit": edit_file, "cell": cell_file}


def damaged(path: Path, load: Callable[[], Any], content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(MnemotomyError, match=r"is damaged|is not a|there is no file"):
        load()


@pytest.mark.parametrize("tries", [60, pytest.param(800, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_and_a_lost_end_are_noticed(kind: str, tmp_path: Path, tries: int):
    path = tmp_path / "file"
    load = KINDS[kind](path)
    load()
    content = path.read_bytes()
    draw = random.Random(0)
    for place in draw.choices(range(len(content)), k=tries):
        flipped = bytearray(content)
        flipped[place] ^= draw.choice([1, 4, 32, 255])
        damaged(path, load, bytes(flipped))
    for length in draw.choices(range(len(content)), k=tries // 4):
        damaged(path, load, content[:length])


def test_the_same_content_gives_the_same_bytes(tmp_path: Path):
    made = atlas()
    for name in ("one", "two"):
        made.moments.save(tmp_path / name)
        mt.erase(made, "a").save(tmp_path / f"{name}.edit")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one.edit").read_bytes() == (tmp_path / "two.edit").read_bytes()


def test_a_file_without_a_hash_is_read_with_a_warning(tmp_path: Path):
    header = {"fingerprint": "f", "description": {}}
    metadata = {"format": "mnemotomy-edit", "version": "1", "header": json.dumps(header)}
    save_file({"0": torch.ones(2, 3)}, tmp_path / "old", metadata=metadata)
    with pytest.warns(UserWarning, match="without a hash of its content"):
        assert torch.equal(mt.Edit.load(tmp_path / "old")["0"], torch.ones(2, 3))


def test_a_hash_need_not_be_checked(tmp_path: Path):
    load = moments_file(tmp_path / "m")
    content = bytearray((tmp_path / "m").read_bytes())
    content[-3] ^= 1
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(ArtifactError, match="changed since it was written"):
        load()
    assert mt.Moments.load(tmp_path / "m", verify=False).concepts == ("a", "b")


def test_a_text_that_looks_like_a_hash_is_none(tmp_path: Path):
    write_sealed(tmp_path / "cell", {"note": "xxh3-128:" + "0" * 32})
    assert read_sealed(tmp_path / "cell") == {"note": "xxh3-128:" + "0" * 32}


def test_a_model_folder_is_what_was_saved(tmp_path: Path):
    folder = save_qwen(tmp_path / "saved")
    tokenizer = mt.load_tokenizer(folder)
    model, out = tiny_llama(), tmp_path / "model"
    mt.save_model(model, out, tokenizer=tokenizer, extra={"README.md": "a card"})
    state = state_of(model)
    (out / "README.md").write_text("somebody's own words")
    assert same_state(mt.load_model(out), state)
    mt.load_tokenizer(out)
    for name, load in (
        ("model.safetensors", mt.load_model),
        ("config.json", mt.load_model),
        ("tokenizer.json", mt.load_tokenizer),
    ):
        whole = (out / name).read_bytes()
        (out / name).write_bytes(whole[:-2] + b" " + whole[-1:])
        with pytest.raises(ArtifactError, match=f"{name} has changed since it was written"):
            load(out)
        (out / name).write_bytes(whole)
    (out / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        mt.load_model(out)


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("edit", ("fingerprint",), 1),
        ("edit", ("description", "concepts"), [None]),
        ("edit", ("description", "cut"), 1),
        ("moments", ("origin", "text"), 1),
        ("moments", ("origin", "examples"), []),
        ("moments", ("readers",), None),
        ("moments", ("concepts",), [True]),
    ],
)
def test_a_sealed_file_with_a_wrong_header_is_refused(kind: str, place: tuple[str, ...], value: Any, tmp_path: Path):
    load = KINDS[kind](tmp_path / "f")
    with safe_open(tmp_path / "f", "pt") as file:
        described = json.loads(file.metadata()["mnemotomy"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    inner = described["header"]
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    save_file(tensors, tmp_path / "f", metadata={"mnemotomy": json.dumps(described | {"content": BLANK})})
    seal(tmp_path / "f")
    with pytest.raises(ArtifactError, match=f"its header has a wrong '{place[0]}"):
        load()
