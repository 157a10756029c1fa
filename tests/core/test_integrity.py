"""Content hashes: every change to a file is noticed, and the same content gives the same bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from counted import Counted
from helpers import QUIET, mlp, randn, same_state, state_of, tiny_llama
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_language import save_qwen, tokenizer

import mnemotomy as mt
from mnemotomy.core.cells import json_cells
from mnemotomy.core.errors import ArtifactError, MnemotomyError, TrainingError
from mnemotomy.core.integrity import BLANK, read_sealed, seal, write_checksums, write_sealed
from mnemotomy.core.yaml import write_yaml
from mnemotomy.data.fact_file import read_format
from mnemotomy.observe.questions import Asking, Observed, load_questions, observe_questions, save_questions
from mnemotomy.recipe import load_recipe
from mnemotomy.recipe.record import earlier_requests
from mnemotomy.text.records import TextExample, read_examples
from mnemotomy.training.checkpoint import Checkpoints, Progress, State


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


def collection_file(path: Path) -> Callable[[], Any]:
    """The checkpoint of an unfinished collection."""
    model = mlp(6, 5, 4)
    data = {"a": [randn(9, 6)], "b": [randn(20, 6, seed=1)]}
    options = mt.CollectOptions(checkpoint=path, checkpoint_seconds=0.0, keep_checkpoint=True, progress=False)
    mt.collect(model, data, options=options)
    return lambda: mt.collect(model, data, options=options)


def answers_file(path: Path) -> Callable[[], Any]:
    model, known = tiny_llama(vocab_size=len(tokenizer()), max_position_embeddings=256), tokenizer()
    asked = [TextExample.of_question("Kyoto ?", "Japan ."), TextExample.of_question("Rome ?", "Italy .")]
    save_questions(observe_questions(Observed(model, known), asked, Asking(max_new_tokens=2)), path)
    return lambda: load_questions(path)


def cell_file(path: Path) -> Callable[[], Any]:
    cells = json_cells(path.parent)
    cells.kept(path.stem, lambda: {"accuracy": 0.75, "texts": ["a", "b"]})
    path.unlink(missing_ok=True)
    cells.path(path.stem).rename(path)
    return lambda: read_sealed(path)


def model_folder(path: Path) -> Callable[[], Any]:
    mt.save_model(tiny_llama(vocab_size=len(tokenizer())), path, tokenizer=tokenizer())
    return lambda: (mt.load_model(path), mt.load_tokenizer(path))


def adapter_folder(path: Path) -> Callable[[], Any]:
    """One as ``forget --as lora`` saves it."""
    peft = pytest.importorskip("peft")
    save_qwen(path.parent / "base")
    adapted = peft.get_peft_model(mt.load_model(path.parent / "base"), peft.LoraConfig(r=2, target_modules=["q_proj"]))
    adapted.peft_config["default"].base_model_name_or_path = str(path.parent / "base")
    adapted.save_pretrained(path)
    write_checksums(path)
    (path / "README.md").unlink()
    return lambda: mt.load_model(path)


def beside_folder(path: Path) -> Callable[[], Any]:
    """What a model folder contains beside the model, and who reads it."""
    recipe = {"model": "m", "concepts": {"a": "a.jsonl"}, "reference": "retain.jsonl"}
    last = {"kind": "k", "model": {"fingerprint_before": "a", "fingerprint_after": "b"}}
    texts = {
        "mnemotomy.json": json.dumps(last),
        "recipe.yaml": write_yaml(recipe),
        "retain.jsonl": json.dumps({"text": "Rome is in Italy."}) + "\n",
        "prompt_format.json": json.dumps({"in_context": "{context} {prompt}"}),
    }
    path.mkdir()
    for name, text in texts.items():
        (path / name).write_text(text)
    write_checksums(path)
    return lambda: [
        earlier_requests(path),
        load_recipe(path / "recipe.yaml"),
        read_examples(path / "retain.jsonl"),
        read_format(path),
    ]


def training_folder(path: Path) -> Callable[[], Any]:
    state, checkpoints = training_state(), Checkpoints(path, "key")
    state.save(checkpoints, Progress(1, 2, 3.0))
    return lambda: state.load(checkpoints)


def training_state() -> State:
    model = mlp(6, 5, 4)
    optimizer = torch.optim.AdamW(model.parameters())
    model(randn(2, 6)).sum().backward()
    optimizer.step()
    return State(model, optimizer, None, torch.Generator())


KINDS: dict[str, Callable[[Path], Callable[[], Any]]] = {
    "moments": moments_file, "edit": edit_file, "collection": collection_file, "answers": answers_file,
    "cell": cell_file, "model": model_folder, "adapter": adapter_folder, "beside": beside_folder,
    "training": training_folder,
}  # fmt: skip


def damaged(path: Path, load: Callable[[], Any], content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(MnemotomyError, match=r"is damaged|is not a|does not exist|has changed since it was written"):
        load()


@pytest.mark.parametrize("tries", [40, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_and_a_lost_end_are_noticed(kind: str, tmp_path: Path, tries: int, counted: Counted):
    load = KINDS[kind](tmp_path / "artifact")
    load()
    whole = tmp_path / "artifact"
    files = sorted(whole.iterdir()) if whole.is_dir() else [whole]
    contents = {file: file.read_bytes() for file in files}
    draw = random.Random(0)
    with counted("damaged files", kind) as outcome:
        for number in range(tries + tries // 4):
            file = files[number % len(files)]
            content, place = contents[file], draw.randrange(len(contents[file]))
            if number < tries:
                flipped = bytearray(content)
                flipped[place] ^= draw.choice([1, 4, 32, 255])
                damaged(file, load, bytes(flipped))
            else:
                damaged(file, load, content[:place])
            file.write_bytes(content)
            outcome.refused += 1
    load()


@pytest.mark.filterwarnings("ignore:.*without hashes")
def test_a_checkpoint_of_training_says_what_is_wrong_with_it(tmp_path: Path):
    load = KINDS["training"](tmp_path / "c")
    for name in ("parameters.safetensors", "optimizer.pt", "state.json"):
        whole = (tmp_path / "c" / name).read_bytes()
        (tmp_path / "c" / name).unlink()
        with pytest.raises(TrainingError, match=f"{name} is missing.*delete"):
            load()
        (tmp_path / "c" / name).write_bytes(whole)
    (tmp_path / "c" / "checksums.json").unlink()
    with pytest.warns(UserWarning, match="without hashes of its files"):
        assert load() == Progress(1, 2, 3.0)
    for name, content in (("optimizer.pt", b"no zip"), ("state.json", b"[1"), ("state.json", b'{"layout": 2}')):
        (tmp_path / "c" / name).write_bytes(content)
        with pytest.raises(TrainingError, match=r"is damaged .*delete"):
            load()


def test_a_checkpoint_need_not_be_checked(tmp_path: Path):
    state = training_state()
    state.save(Checkpoints(tmp_path, "key"), Progress(1, 2, 3.0))
    content = bytearray((tmp_path / "parameters.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "parameters.safetensors").write_bytes(content)
    with pytest.raises(TrainingError, match="has changed since"):
        state.load(Checkpoints(tmp_path, "key"))
    assert state.load(Checkpoints(tmp_path, "key", verify=False)).epochs == 1


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


@pytest.mark.parametrize("kind", ["F4", "F6_E2M3", "F8_E8M0", "C64", "U64"])
def test_numbers_of_unusual_kinds_are_refused_in_words(kind: str, tmp_path: Path):
    bits = {"F4": 4, "F6_E2M3": 6, "F8_E8M0": 8, "C64": 64, "U64": 64}[kind]
    header = json.dumps({"a": {"dtype": kind, "shape": [8], "data_offsets": [0, bits]}}).encode()
    (tmp_path / "f").write_bytes(len(header).to_bytes(8, "little") + header + bytes(bits))
    with pytest.raises(ArtifactError, match=r"is not an edit|is damaged"):
        mt.Edit.load(tmp_path / "f")


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
    (out / "README.md").unlink()
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
    (out / "model.safetensors").rename(out / "elsewhere")
    with pytest.raises(ArtifactError, match="is missing"):
        mt.load_model(out)
    (out / "elsewhere").rename(out / "model.safetensors")
    (out / "checksums.json").unlink()
    (out / "mnemotomy.json").write_text("{}")
    with pytest.warns(UserWarning, match="damage would go unnoticed"):
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
