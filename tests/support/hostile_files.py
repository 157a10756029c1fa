"""Hostile stores, pickles, tensor files, model folders and structured texts."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import shutil
import sqlite3
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from fuzz_cases import Inputs
from fuzz_files import _interrupted as interrupted
from hostile import Hostile, Prepare

from mnemotomy.core.integrity import write_checksums
from mnemotomy.core.yaml import write_yaml
from mnemotomy.store import seal as store_seal


class Code:
    """Unpickled, it makes the file ``ran``."""

    def __init__(self, folder: Path) -> None:
        self.marker = folder.parent / "ran"

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


def both(*steps: Prepare) -> Prepare:
    def prepare(folder: Path) -> None:
        for step in steps:
            step(folder)

    return prepare


def stores(i: Inputs) -> Iterator[Hostile]:
    """Tables, views, triggers and rows that no store of ours has; hashes are right."""

    def store(*sql: str) -> Prepare:
        def prepare(folder: Path) -> None:
            shutil.copy(i("facts.db"), folder / "s.db")
            with sqlite3.connect(folder / "s.db") as opened:
                for one in sql:
                    opened.execute(one)
            try:
                store_seal.seal(opened)
            except sqlite3.Error:  # the schema no longer lets it
                opened.rollback()
            opened.close()

        return prepare

    search, remove = ["facts", "search", "s.db", "Kyoto"], ["facts", "rm", "s.db", "Rome"]
    rewrite = "UPDATE sqlite_master SET sql = {} WHERE name = 'facts'"
    writable = "PRAGMA writable_schema = ON"
    for name, arguments, sql, refused in (
        ("a trigger", remove, ["CREATE TRIGGER t AFTER DELETE ON facts BEGIN DELETE FROM facts; END"], "trigger 't'"),
        ("a view", search, ["CREATE VIEW v AS SELECT * FROM facts"], "view 'v'"),
        (
            "a view for a table",
            search,
            ["DROP TABLE notes", "CREATE VIEW notes AS SELECT 'a' AS name, 'b' AS value"],
            "view 'notes'",
        ),
        ("a virtual table", search, ["CREATE VIRTUAL TABLE v USING fts5(a)"], "'v"),
        ("an index of a function", search, ["CREATE INDEX i ON facts (upper(answer))"], "index 'i'"),
        ("a computed column", search, ["ALTER TABLE facts ADD COLUMN more AS (upper(subject))"], "table 'facts'"),
        ("a further column", search, ["ALTER TABLE facts ADD COLUMN more"], "table 'facts'"),
        ("a column with a default", search, ["ALTER TABLE notes ADD COLUMN more DEFAULT 'x'"], "table 'notes'"),
        ("a schema of nonsense", search, [writable, rewrite.format("'CREATE TABLE facts (x'")], "s.db"),
        (
            "a check that calls a function",
            search,
            [writable, rewrite.format("replace(sql, 'UNIQUE', 'CHECK (length(subject) < randomblob(9)), UNIQUE')")],
            "table 'facts'",
        ),
        ("the index of words replaced", search, ["DROP TABLE words", "CREATE TABLE words (subject, text)"], "'words'"),
        ("no table of facts", search, ["DROP TABLE facts"], "s.db"),
        ("an answer of bytes", ["facts", "export", "s.db", "out"], ["UPDATE facts SET answer = x'ff'"], "damaged"),
        (
            "texts of deep nesting",
            ["facts", "export", "s.db", "out"],
            ["UPDATE facts SET texts = '" + "[" * 90_000 + "'"],
            "damaged",
        ),
        (
            "a note of deep nesting",
            ["ask", i("plain"), "s.db", "Kyoto?"],
            ["UPDATE notes SET value = '" + "[" * 90_000 + "' WHERE name <> 'content'"],
            "damaged",
        ),
    ):
        yield Hostile("fact stores", name, arguments, store(*sql), refused)


@functools.cache
def zip_bomb() -> bytes:
    """A checkpoint of torch whose pickle is 3 GB of zeros, packed into some megabytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/version", "3")
        with archive.open("archive/data.pkl", "w", force_zip64=True) as file:
            for _ in range(48):
                file.write(bytes(2**26))
    return made.getvalue()


def saved(value: Any, **how: Any) -> bytes:
    made = io.BytesIO()
    torch.save(value, made, **how)
    return made.getvalue()


PICKLES: dict[str, Callable[[Path], bytes]] = {
    "code": lambda folder: saved({"state": Code(folder)}),
    "code, as torch wrote it of old": lambda folder: saved([Code(folder)], _use_new_zipfile_serialization=False),
    "a plain pickle with code": lambda folder: pickle.dumps(Code(folder)),
    "a global of the library": lambda folder: b"\x80\x02cos\nsystem\nq\x00X\x04\x00\x00\x00exitq\x01\x85q\x02Rq\x03.",
    "a number of 2 GB": lambda folder: b"\x80\x04\x8e" + struct.pack("<Q", 2**31) + b"x",
    "deep nesting": lambda folder: b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
    "a zip bomb": lambda folder: zip_bomb(),
}


def pickles(i: Inputs) -> Iterator[Hostile]:
    """Wherever torch could unpickle: a checkpoint of training with right hashes, weights, artifacts."""
    train = [
        "metabolize",
        i("plain"),
        i("facts.jsonl"),
        "out",
        "--force",
        "--retain",
        i("retain.jsonl"),
        "--epochs",
        "12",
    ]

    def checkpoint(make: Callable[[Path], bytes]) -> Prepare:
        def prepare(folder: Path) -> None:
            interrupted(train[:-2], "optimizer.pt", make(folder), True)(folder)
            kept = folder / "out.training" / "checkpoint"
            (kept / "checksums.json").unlink()
            write_checksums(kept)

        return prepare

    def weights(name: str, make: Callable[[Path], bytes], *, instead: bool) -> Prepare:
        def prepare(folder: Path) -> None:
            shutil.copytree(i("model"), folder / "m")
            if instead:
                (folder / "m" / "model.safetensors").unlink()
            (folder / "m" / name).write_bytes(make(folder))

        return prepare

    collecting = ["collect", "m", *i.collecting()[2:], "-o", "out"]
    for name, make in PICKLES.items():
        yield Hostile("pickles", f"optimizer.pt: {name}", train, checkpoint(make), "checkpoint is damaged")
        yield Hostile(
            "pickles", f"pytorch_model.bin: {name}", collecting, weights("pytorch_model.bin", make, instead=True), "m"
        )
    code = PICKLES["code"]
    for name in ("training_args.bin", "optimizer.pt", "rng_state.pth", "pytorch_model.bin"):
        yield Hostile("pickles", f"{name} beside the weights", collecting, weights(name, code, instead=False), None)
    for name, arguments in (("edit", ["edit", "show", "f"]), ("moments", ["trace", "f", i("model")])):
        prepare = lambda folder: (folder / "f").write_bytes(code(folder))  # noqa: E731
        yield Hostile("pickles", f"for {name}", arguments, prepare, "f")


def header(tensors: dict[str, Any], data: int = 0, **more: Any) -> bytes:
    text = json.dumps({**tensors, **more}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


def tensor(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


SAFETENSORS = {
    "a header longer than the file": struct.pack("<Q", 10**6) + b"{}",
    "a header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "a header that is not JSON": struct.pack("<Q", 9) + b"{'a': 1} ",
    "a header of deep nesting": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "a header of nested metadata": header({"__metadata__": {"mnemotomy": "[" * 90_000}}),
    "overlapping tensors": header({"a": tensor([4], 0, 16), "b": tensor([4], 8, 24)}, 24),
    "a tensor beyond the end": header({"a": tensor([4], 0, 16)}, 8),
    "a hole between tensors": header({"a": tensor([1], 0, 4), "b": tensor([1], 8, 12)}, 12),
    "a tensor that ends before it begins": header({"a": tensor([1], 8, 4)}, 8),
    "negative offsets": header({"a": tensor([1], -4, 0)}, 4),
    "a shape of 2^80 numbers": header({"a": tensor([2**40, 2**40], 0, 4)}, 4),
    "a shape that is another size": header({"a": tensor([3], 0, 16)}, 16),
    "a negative shape": header({"a": tensor([-1], 0, 4)}, 4),
    "an unknown dtype": header({"a": tensor([1], 0, 4, "X99")}, 4),
    "a dtype of another width": header({"a": tensor([2], 0, 8, "F64")}, 8),
    "a key twice": struct.pack("<Q", 106)
    + (
        b'{"a":'
        + json.dumps(tensor([1], 0, 4)).encode()
        + b","
        + b'"a":'
        + json.dumps(tensor([1], 0, 4)).encode()
        + b"}"
    ).ljust(106)
    + bytes(4),
    "a name with a null character": header({"a\0": tensor([1], 0, 4)}, 4),
}


def tensor_files(i: Inputs) -> Iterator[Hostile]:
    """Headers that lie, of an edit and of a model's weights."""
    for name, content in SAFETENSORS.items():

        def prepare(folder: Path, content: bytes = content) -> None:
            shutil.copytree(i("model"), folder / "m")
            (folder / "m" / "model.safetensors").write_bytes(content)
            (folder / "f").write_bytes(content)

        yield Hostile("tensor files", f"edit: {name}", ["edit", "show", "f"], prepare, "f")
        collecting = ["collect", "m", *i.collecting()[2:], "-o", "out"]
        yield Hostile("tensor files", f"model: {name}", collecting, prepare, "m")


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{y: [*{old}, *{old}], <<: *{old}}}\n" for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)
YAML = {
    "a billion laughs": LAUGHS + "concepts: *j\n",
    "a billion merges": MERGES + "concepts: *j\n",
    "an anchor in itself": "concepts: &a [*a]\n",
    "deep nesting": "concepts: " + "[" * 20_000 + "\n",
    "deep braces": "concepts: " + "{a: " * 20_000 + "\n",
    "a tag of Python": "model: !!python/object/apply:os.system [x]\n",
    "a number of 5,000 digits": "batch_size: " + "9" * 5000 + "\n",
    "not a number": "strength: .nan\n",
    "a key twice": "model: a\nmodel: b\n",
    "two documents": "model: a\n---\nmodel: b\n",
    "a null character": 'model: "\\0"\n',
    "a tag of bytes": "model: !!binary //8=\n",
    "half a pair": 'model: "\\ud800"\n',
    "an escape": 'model: "\\e[31m"\n',
}
JSON = {
    "deep nesting": b"[" * 200_000,
    "deep braces": b'{"a":' * 100_000,
    "not a number": b'{"text": NaN}',
    "a number of 5,000 digits": b'{"text": ' + b"9" * 5000 + b"}",
    "not UTF-8": b'{"text": "\xff\xfe"}',
    "UTF-16": '{"text": "Kyoto"}'.encode("utf-16"),
    "half a pair": b'{"text": "\\ud800"}',
    "an infinity": b'{"text": 1e999}',
    "a null byte between lines": b'{"text": "Kyoto"}\n\0\n',
    "bytes of a store": b"SQLite format 3\0" + bytes(99),
}


def structured(i: Inputs) -> Iterator[Hostile]:
    """Recipes and concept files that are not what they look like."""
    for name, text in YAML.items():

        def recipe(folder: Path, text: str = text) -> None:
            fields = {key: value for key, value in i.edit_recipe().items() if f"{key}:" not in text}
            (folder / "r.yaml").write_text(write_yaml(fields) + text)

        yield Hostile(
            "YAML and JSON",
            f"recipe: {name}",
            ["apply", "r.yaml", "out"],
            recipe,
            "x1b[31m" if name == "an escape" else "r.yaml",
        )
    for name, content in JSON.items():
        reading = ["collect", i("model"), "--concept", "a=f", "--reference", i("retain.jsonl"), "-o", "out"]
        yield Hostile("YAML and JSON", f"concept: {name}", reading, lambda f, c=content: (f / "f").write_bytes(c), "f")
    twice = b'{"text": "Kyoto lies in Japan .", "text": "Rome lies in Italy ."}\n'
    yield Hostile(
        "YAML and JSON",
        "concept: a key twice",
        ["collect", i("model"), "--concept", "a=f", "--reference", i("retain.jsonl"), "-o", "out"],
        lambda folder: (folder / "f").write_bytes(twice),
        "twice",
    )
