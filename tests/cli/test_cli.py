"""collect and apply on the command line: what they give, and every error as one line and status 2."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import COLLECT, RECIPE, Invoke, fails
from helpers import count_batches
from transformers import AutoModelForCausalLM

import mnemotomy as mt
from mnemotomy.cli.options import blocks
from mnemotomy.core.errors import DataError

# -- collect -------------------------------------------------------------------------------------------------------


def test_collect_writes_moments(invoke: Invoke) -> None:
    result = invoke(*COLLECT, "--concept", "paris=paris.jsonl", "--sites", "q_proj,down_proj", "--layers", "1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "kyoto: 2 examples, 3 tokens\n" in result.stdout
    moments = mt.Moments.load("m.safetensors")
    assert moments.concepts == ("kyoto", "paris", "reference")
    assert list(moments.readers) == ["model.layers.1.self_attn.q_proj", "model.layers.1.mlp.down_proj"]
    assert moments.origin.fingerprint == mt.fingerprint(mt.load_model("llama"))


def test_few_rows_are_said_when_they_are_collected_and_when_they_are_shown(invoke: Invoke) -> None:
    few = ["--concept", "kyoto=kyoto.jsonl", "--reference", "paris.jsonl", "-o", "few.safetensors"]
    for arguments in (["collect", "llama", *few], ["trace", "few.safetensors", "llama"]):
        done = invoke(*arguments)
        assert done.exit_code == 0
        assert done.stderr.count("engrams are mostly noise there") == done.stderr.count("warning:") == 1


def test_a_small_reference_is_said_before_the_pass_and_once(
    folder: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    (folder / "many.jsonl").write_text("".join(f'{{"text": "{word} " }}\n' for word in 40 * ["Kyoto Paris Kyoto"]))
    asked = [
        "collect",
        "llama",
        "--concept",
        "a=many.jsonl",
        "--concept",
        "b=kyoto.jsonl",
        "--reference",
        "paris.jsonl",
    ]
    with monkeypatch.context() as patch:
        patch.setattr("mnemotomy.recipe.collecting.collect", interrupt)
        assert "warning: the reference has" in invoke(*asked, "-o", "small.safetensors").stderr
    for arguments in ([*asked, "-o", "small.safetensors"], ["trace", "small.safetensors", "llama"]):
        done = invoke(*arguments)
        assert done.exit_code == 0
        assert re.search(r"warning: the reference has \d+ rows, but '\S+' and \d+ other inputs have up to", done.stderr)
        assert done.stderr.count("warning:") == 1, done.stderr


def test_collect_makes_a_folder_for_moments_alone(folder: Path, invoke: Invoke) -> None:
    fails(invoke("collect", "./none", *COLLECT[2:], "-o", "new/m.safetensors"), "the model folder none does not exist")
    assert not (folder / "new").exists()
    assert invoke(*COLLECT, "-o", "new/m.safetensors").exit_code == 0
    assert [path.name for path in (folder / "new").iterdir()] == ["m.safetensors"]


def test_collect_joins_files_of_one_concept_and_takes_patterns(invoke: Invoke) -> None:
    result = invoke(*COLLECT, "--concept", "kyoto=paris.jsonl", "--sites", r".*\.0\..*_proj", "--dtype", "bfloat16")
    assert result.exit_code == 0
    moments = mt.Moments.load("m.safetensors")
    assert moments.origin.examples == {"kyoto": 3, "reference": 6}
    assert moments.origin.model_dtype == "bfloat16"
    assert len(moments.readers) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--concept", "paris"], "--concept 'paris' is not NAME=FILE"),
        (["--concept", "=paris.jsonl"], "is not NAME=FILE"),
        (["--concept", "reference=paris.jsonl"], "give the reference with --reference"),
        (["--concept", "rome=none.jsonl"], "the concept file none.jsonl does not exist"),
        (["--concept", "rome=bad.jsonl"], "bad.jsonl line 2: not JSON"),
        (["--reference", "bad.jsonl"], "bad.jsonl line 2: not JSON"),
        (["--sites", "z_proj"], "no site is named 'z_proj'. There are: embed_tokens (1)"),
        (["--sites", "("], "'(' is not a valid regular expression"),
        (["--layers", "3-1"], "--layers '3-1': give block numbers"),
        (["--layers", "7"], "no selected site is in block 7"),
        (["--dtype", "int8"], "unknown dtype 'int8'"),
        (["--device", "nowhere"], "cannot use the device 'nowhere'"),
        (["-o", "kyoto.jsonl/m.safetensors"], "kyoto.jsonl"),
        (["-o", "taken"], "taken is a folder"),
        (["--max-length", "3"], "kyoto.jsonl line 1: the content begins after"),
    ],
)
def test_collect_fails_in_one_line_and_keeps_what_was_there(
    folder: Path, invoke: Invoke, change: list[str], message: str
) -> None:
    (folder / "taken").mkdir()
    (folder / "m.safetensors").write_text("old")
    (folder / "bad.jsonl").write_text('{"text": "a"}\n{"text": \n')
    fails(invoke(*COLLECT, *change), message)
    assert (folder / "m.safetensors").read_text() == "old"
    assert not list(folder.glob(".*"))


def test_collect_needs_a_model_and_a_reference(folder: Path, invoke: Invoke) -> None:
    fails(invoke("collect", "./none", *COLLECT[2:]), "the model folder none does not exist")
    fails(invoke("collect", "nobody/nothing", *COLLECT[2:]), "cannot load a model from 'nobody/nothing'")
    (folder / "empty").mkdir()
    fails(invoke("collect", "empty", *COLLECT[2:]), "cannot load a model from 'empty'")
    fails(invoke(*COLLECT[:4], "-o", "m.safetensors"), "'kyoto' has no reference")


def test_ctrl_c_says_how_to_go_on(folder: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        count_batches(patch, interrupt_at=1)
        result = invoke(*COLLECT)
    assert result.exit_code == 130
    assert result.stderr.startswith("mnemotomy: interrupted; the same command resumes from .m.safetensors.")
    assert result.stderr.count("\n") == 1
    assert len(list(folder.glob(".*.checkpoint"))) == 1
    assert invoke(*COLLECT, "--no-resume").exit_code == 0
    assert not list(folder.glob(".*"))


def test_no_input_is_overwritten(folder: Path, invoke: Invoke) -> None:
    concept, moments = (folder / "paris.jsonl").read_bytes(), (folder / "ready.safetensors").read_bytes()
    fails(invoke(*COLLECT[:-1], "paris.jsonl", "--concept", "paris=paris.jsonl"), "is read by this command")
    for option in ("--csv", "--png", "--json"):
        fails(invoke("trace", "ready.safetensors", "llama", option, "ready.safetensors"), "is read by this command")
    assert (folder / "paris.jsonl").read_bytes() == concept
    assert (folder / "ready.safetensors").read_bytes() == moments


# -- apply ---------------------------------------------------------------------------------------------------------


def test_apply_saves_a_model_that_loads(invoke: Invoke) -> None:
    result = invoke("apply", "recipe.yaml", "out")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "erased kyoto at 14 sites\n" in result.stdout
    record = json.loads(Path("out/mnemotomy.json").read_text())
    assert mt.fingerprint(AutoModelForCausalLM.from_pretrained("out")) == record["model"]["fingerprint_after"]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (None, "the recipe broken.yaml does not exist"),
        (RECIPE + "filtr: hard", "broken.yaml: unknown field 'filtr'; did you mean 'filter'?"),
        (RECIPE + "erase: [rome]", "broken.yaml: erase: no concept 'rome'; there are kyoto"),
        (RECIPE + "sites: [z_proj]", "no site is named 'z_proj'"),
        (RECIPE + "strength: 1e300", "choose a smaller strength"),
        (RECIPE.replace("rest", "none"), "broken.yaml: reference: none.jsonl does not exist"),
        (RECIPE.replace("llama", "./none"), "the model folder none does not exist"),
        ("- model", "a recipe is a mapping"),
    ],
)
def test_apply_fails_in_one_line_and_keeps_the_output(
    folder: Path, invoke: Invoke, recipe: str | None, message: str
) -> None:
    (folder / "out").mkdir()
    (folder / "out/mnemotomy.json").write_text("old")
    if recipe is not None:
        (folder / "broken.yaml").write_text(recipe)
    fails(invoke("apply", "broken.yaml", "out"), message)
    assert [path.name for path in (folder / "out").iterdir()] == ["mnemotomy.json"]
    assert not list(folder.glob(".*"))


def test_apply_refuses_what_it_cannot_write(invoke: Invoke) -> None:
    fails(invoke("apply", "recipe.yaml", "kyoto.jsonl"), "kyoto.jsonl is a file")
    fails(invoke("apply", "recipe.yaml", "kyoto.jsonl/out"), "kyoto.jsonl")
    fails(invoke("apply", "recipe.yaml", "."), "contains files that mnemotomy did not write")


# -- as a process --------------------------------------------------------------------------------------------------


INTERRUPTED = """
import os, signal
from mnemotomy.cli import main
from mnemotomy.engram.collector import Collector
batch, seen = Collector.batch, []
def interrupting(self, labels):
    seen.append(labels)
    if len(seen) == 3:
        os.kill(os.getpid(), signal.SIGINT)
    return batch(self, labels)
Collector.batch = interrupting
main()
"""


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


def test_a_process_fails_in_one_line(folder: Path) -> None:
    done = run(folder, "-m", "mnemotomy", *COLLECT, "--layers", "first")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "mnemotomy: --layers 'first': give block numbers and ranges, as in 0-3,7\n"


@pytest.mark.slow
def test_a_process_interrupted_by_ctrl_c_goes_on(folder: Path) -> None:
    done = run(folder, "-c", INTERRUPTED, *COLLECT, "--batch-size", "1")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (130, "", 1)
    assert done.stderr.startswith("mnemotomy: interrupted; the same command resumes from ")
    done = run(folder, "-m", "mnemotomy", *COLLECT, "--batch-size", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "kyoto: 2 examples, 3 tokens\nreference: 6 examples" in done.stdout
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("layers", ["0-99999999", "9" * 5000, "3-1", "a"])
def test_numbers_of_blocks_are_bounded(layers: str) -> None:
    with pytest.raises(DataError, match="give block numbers and ranges"):
        blocks(layers)
