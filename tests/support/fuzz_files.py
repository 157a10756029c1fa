"""Hostile model folders, artifacts, files and stores for the fuzz, seeds fixed."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzz import Case, call
from fuzz_cases import Inputs
from safetensors import safe_open
from safetensors.torch import save_file

from mnemotomy.core.integrity import BLANK, seal
from mnemotomy.core.yaml import write_yaml
from mnemotomy.store import seal as store_seal

TEMPLATES = [
    "{{ 1 / 0 }}", "{% for", "{% for i in range(10**9) %}x{% endfor %}",
    "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}", "{{ 10 ** 10 ** 10 }}",
    "{{ messages[99].content }}", "{{ raise_exception('no\x1b[31m') }}", "{{ 'x' * 10**12 }}",
    "{{ messages.__class__ }}",
    "{{ ''.__class__.__mro__ }}", "", "x", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ messages | tojson }}",
    "{% include 'x' %}", "{{ undefined.thing }}", "{% set n = 9 %}{{ 'a' | center(10 ** 13) }}",
]  # fmt: skip


def model_folders(inputs: Inputs) -> Iterator[Case]:
    """A model folder with an odd configuration, without a file, with junk in one, and with hostile templates."""
    odd = [None, -1, 0, 10**30, "x", [], {}, 1.5, [None], True]
    keys = "model_type architectures hidden_size num_hidden_layers vocab_size num_attention_heads rope_scaling dtype "
    keys += "torch_dtype quantization_config tie_word_embeddings auto_map rope_parameters pad_token_id hidden_act"
    for key in keys.split():
        for value in odd:
            yield _changed(inputs, "config.json", _entry(key, value))
    for kind in ("vit", "clip", "bert", "t5", "whisper", "mamba"):
        yield _changed(inputs, "config.json", lambda old, kind=kind: json.dumps({"model_type": kind}).encode())
    for key in (
        "chat_template",
        "tokenizer_class",
        "pad_token",
        "model_max_length",
        "extra_special_tokens",
        "auto_map",
    ):
        for value in odd[3:]:
            yield _changed(inputs, "tokenizer_config.json", _entry(key, value))
    for template in TEMPLATES:
        yield _changed(inputs, "chat_template.jinja", lambda old, text=template: text.encode())
    for file in (
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
    ):
        for junk in (b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"):
            yield _changed(inputs, file, lambda old, junk=junk: junk)
        yield _changed(inputs, file, lambda old: old[: len(old) // 2])
        for stands in (os.mkfifo, os.mkdir, lambda path: os.symlink(path.name, path), None):
            yield _changed(inputs, file, None, stands)


def _entry(key: str, value: Any) -> Callable[[bytes], bytes]:
    return lambda old: json.dumps(json.loads(old) | {key: value}).encode()


def _changed(
    inputs: Inputs, file: str, change: Callable[[bytes], bytes] | None, stands: Callable[[Path], object] | None = None
) -> Case:
    def prepare(folder: Path) -> None:
        shutil.copytree(inputs("model"), folder / "m")
        path = folder / "m" / file
        if change is not None:
            path.write_bytes(change(path.read_bytes()))
        else:
            path.unlink()
            if stands is not None:
                stands(path)

    return Case(["collect", "m", *inputs.collecting()[2:], "-o", "out"], prepare)


def artifacts(inputs: Inputs) -> Iterator[Case]:
    """Sealed files with a wrong header or wrong tensors: their hash is right, their content is not."""
    draw = random.Random(0)
    readers = {
        "edit.safetensors": (["edit", "show", "f"], ["edit", "apply", "f", inputs("model"), "out"],
                             ["edit", "combine", "out", "f", inputs("edit.safetensors")]),
        "moments.safetensors": (["trace", "f", inputs("model")], ["apply", "moments.yaml", "out"]),
    }  # fmt: skip
    values = [None, [], {}, "x", -1, 10**30, [None], {"a": 1}, "\x1b[31m", True]
    for name, calls in readers.items():
        for place in _places(_described(inputs(name))):
            value = draw.choice(values)
            for arguments in calls:
                yield Case(arguments, _resealed(inputs, name, place, value))
        for kind in (torch.int64, torch.float16, torch.complex64):
            for arguments in calls:
                yield Case(arguments, _retyped(inputs, name, kind))


def _described(path: str) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["mnemotomy"])


def _places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to every value of a header; of long lists and mappings only to the first three."""
    if above:
        yield above
    entries = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, one in entries[: 3 if len(entries) > 12 else None]:
        yield from _places(one, (*above, key))


def _resealed(inputs: Inputs, name: str, place: tuple[Any, ...], value: Any) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        described = _described(inputs(name))
        inner = described
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        _rewritten(inputs, name, folder, described)

    return prepare


def _retyped(inputs: Inputs, name: str, kind: torch.dtype) -> Callable[[Path], None]:
    return lambda folder: _rewritten(inputs, name, folder, _described(inputs(name)), kind)


def _rewritten(inputs: Inputs, name: str, folder: Path, described: Any, kind: torch.dtype | None = None) -> None:
    with safe_open(inputs(name), "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    if kind is not None:
        tensors = {key: one.to(kind) for key, one in tensors.items()}
    whole = described | {"content": BLANK}
    save_file(tensors, folder / "f", metadata={"mnemotomy": json.dumps(whole)})
    seal(folder / "f")
    (folder / "moments.yaml").write_text(write_yaml({"model": inputs("model"), "moments": "f", "erase": ["a"]}))


JUNK = [
    b"", b"\n\n", b"\xff\xfe", b"null\n", b"[]\n", b"1\n", b'{"text": null}\n', b'{"text": "\\ud800"}\n',
    b'{"text": ""}\n', b'{"text": 1e999}\n', b'{"a": ' + b"9" * 5000 + b"}\n", b"[" * 100_000,
    b'{"question": [], "answer": {}}\n', b'{"messages": [{"role": "x\x1b[31m", "content": "y"}]}\n',
    b'{"messages": []}\n', b'{"messages": [[]]}\n', b'{"subject": "\\u0000", "answer": "\\u001b[31m"}\n',
    b'{"subject": "", "answer": ""}\n', b'{"text": "a\\u0000b"}\n', b'{"question": "\\u001b[31m ?", "answer": "a"}\n',
    b"SQLite format 3\x00" + b"\x00" * 500, b"{}", b'{"prompts": ["{x"]}',
]  # fmt: skip


def files(inputs: Inputs) -> Iterator[Case]:
    """Junk in place of every kind of file."""
    i = inputs
    for junk in JUNK:

        def prepare(folder: Path, junk: bytes = junk) -> None:
            (folder / "f").write_bytes(junk)

        for arguments in (
            ["collect", i("model"), "--concept", "a=f", "--reference", i("retain.jsonl"), "-o", "out"],
            ["unlearn", i("model"), "out", "--force", "--method", "npo", "--forget", "f", "--retain", i("retain.jsonl"),
             "--set", "epochs=1"],
            ["evaluate", i("model"), "--forget", "f", "--retain", i("retain.jsonl"), "--max-new-tokens", "1"],
            ["metabolize", i("plain"), "f", "out", "--force", "--epochs", "1", "--retain", i("retain.jsonl")],
            ["metabolize", i("plain"), i("facts.jsonl"), "out", "--force", "--epochs", "1", "--retain",
             i("retain.jsonl"), "--templates", "f"],
            ["facts", "import", "new.db", "f"], ["facts", "search", "f", "Kyoto"], ["facts", "export", "f", "out"],
            ["apply", "f", "out"], ["edit", "show", "f"], ["trace", "f", i("model")],
        ):  # fmt: skip
            yield Case(arguments, prepare)


def stores(inputs: Inputs) -> Iterator[Case]:
    """Stores with a wrong schema or wrong rows."""
    for change in ("DROP TABLE facts", "UPDATE facts SET subject = NULL", "UPDATE facts SET answer = x'ff'",
                   "CREATE TRIGGER t AFTER INSERT ON facts BEGIN SELECT 1; END", "PRAGMA user_version = 999",
                   "DELETE FROM facts", "UPDATE facts SET subject = char(27) || '[31m'"):  # fmt: skip

        def prepare(folder: Path, change: str = change) -> None:
            shutil.copy(inputs("facts.db"), folder / "s.db")
            with sqlite3.connect(folder / "s.db") as opened:
                try:
                    opened.execute(change)
                    store_seal.seal(opened)  # else its hash would hide what else is checked
                except sqlite3.Error:
                    opened.rollback()

        for arguments in (["facts", "search", "s.db", "Kyoto"], ["facts", "export", "s.db", "out"],
                          ["facts", "rm", "s.db", "Kyoto"], ["ask", inputs("plain"), "s.db", "Kyoto?"]):  # fmt: skip
            yield Case(arguments, prepare)


def full_disks(inputs: Inputs) -> Iterator[Case]:
    """Every command that writes, on a disk that is full at once, after some kilobytes, or near the end."""
    i = inputs
    forgetting = ["--forget", i("forget.jsonl"), "--retain", i("retain.jsonl"), "--set", "epochs=2"]
    for arguments in (
        [*i.collecting(), "-o", "out"],
        *(
            ["trace", i("moments.safetensors"), i("model"), f"--{kind}", f"out.{kind}"]
            for kind in ("csv", "png", "json")
        ),
        ["apply", i("edit.yaml"), "out"],
        ["apply", i("edit.yaml"), "out", "--as", "edit"],
        ["edit", "apply", i("edit.safetensors"), i("model"), "out"],
        ["edit", "combine", "out", i("edit.safetensors")],
        ["unlearn", i("model"), "out", "--force", "--method", "npo", *forgetting],
        ["metabolize", i("plain"), i("facts.jsonl"), "out", "--force", "--epochs", "11", "--retain", i("retain.jsonl")],
        ["facts", "import", "new.db", i("facts.jsonl")],
        ["facts", "export", i("facts.db"), "out"],
        ["methods", "--json", "out"],
    ):
        for room in (0, 100, 3000, 30_000):
            yield Case(arguments, room=room)


def unfinished(inputs: Inputs) -> Iterator[Case]:
    """Checkpoints of training with junk in a file, with and without their hashes."""
    command = [
        "metabolize",
        inputs("plain"),
        inputs("facts.jsonl"),
        "out",
        "--force",
        "--retain",
        inputs("retain.jsonl"),
    ]
    for file in ("parameters.safetensors", "optimizer.pt", "state.json", "checksums.json"):
        for junk in (b"", b"{}", b"[]", b'{"layout": 2, "run": 1}', b"\x80\x04N.", os.urandom(300), None):
            for sealed in (True, False):
                yield Case([*command, "--epochs", "12"], _interrupted(command, file, junk, sealed))


def _interrupted(command: list[str], file: str, junk: bytes | None, sealed: bool) -> Callable[[Path], None]:
    """A run that was stopped after its first checkpoint (``RLCP`` writes one every ten epochs)."""

    def prepare(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mnemotomy.training.loop._Training._check_weights", _stop_at(11))
            call([*command, "--epochs", "12"], folder, 60)
        path = folder / "out.training" / "checkpoint" / file
        assert path.is_file()
        path.unlink() if junk is None else path.write_bytes(junk)
        if not sealed:
            (path.parent / "checksums.json").unlink(missing_ok=True)

    return prepare


def _stop_at(epochs: int) -> Callable[..., None]:
    def check(self: Any, epoch: int, last: Any) -> None:
        if epoch + 1 >= epochs:
            raise KeyboardInterrupt

    return check
