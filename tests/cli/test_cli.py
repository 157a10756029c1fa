"""collect, trace and apply on the command line: what they give, and every error as one line and status 2."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from commands import Invoke, call, fails
from drawn import titles
from helpers import count_batches
from tiny_language import concept_files, save_llama
from transformers import AutoModelForCausalLM

import mnemotomy as mt
from mnemotomy.cli.options import blocks, selector
from mnemotomy.core.errors import DataError
from mnemotomy.engram.sites import select_sites

COLLECT = ["collect", "llama", "--concept", "kyoto=kyoto.jsonl", "--reference", "rest.jsonl", "-o", "m.safetensors"]
RECIPE = "model: llama\nconcepts: {kyoto: kyoto.jsonl}\nreference: rest.jsonl\nforce: true\n"


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, concept files, moments and a recipe, which no test changes."""
    folder = tmp_path_factory.mktemp("cli")
    save_llama(folder / "llama")
    save_llama(folder / "other", seed=1)
    concept_files(folder)
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "out").mkdir()
    model = mt.load_model(folder / "llama")
    data = {
        name: {"input_ids": torch.arange(5 + i, 25 + i)[None]} for i, name in enumerate(("kyoto", "paris", "reference"))
    }
    mt.collect(model, data).save(folder / "ready.safetensors")
    return folder


@pytest.fixture
def folder(tmp_path: Path, ready: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of one's own, with links to what is ready."""
    for path in ready.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "out").unlink()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def invoke(folder: Path) -> Invoke:
    return call


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


# -- trace ---------------------------------------------------------------------------------------------------------


def test_trace_prints_a_grid_and_writes_all_sites(invoke: Invoke, figures: list[Any]) -> None:
    result = invoke("trace", "ready.safetensors", "llama", "--csv", "t.csv", "--json", "t.json", "--png", "t.png")
    assert result.exit_code == 0
    assert result.stderr.startswith("mnemotomy: warning: the reference has 20 rows, but ")
    assert result.stderr.count("\n") == 1
    assert "kyoto: ‖W⁺‖/‖W‖" in result.stdout
    assert "reference: ‖W⁺‖/‖W‖" not in result.stdout
    table = pd.read_csv("t.csv")
    assert len(table) == 2 * 14
    first = table.iloc[0]
    assert f" {first['weight_norm']:.3f} " in result.stdout
    assert json.loads(Path("t.json").read_text())[0]["site"] == first["site"]
    assert titles(figures[0]) == ["kyoto: ‖W⁺‖/‖W‖", "paris: ‖W⁺‖/‖W‖"]


def test_a_trace_compares_a_concept_with_the_others(invoke: Invoke) -> None:
    both = invoke("trace", "ready.safetensors", "llama", "--csv", "t.csv").stdout
    norms = pd.read_csv("t.csv").pivot_table(index="site", columns="concept", values="weight_norm")
    site = (norms["kyoto"] - norms["paris"]).idxmax()
    own, other = norms.loc[site, "kyoto"], norms.loc[site, "paris"]
    above = int((norms["kyoto"] > norms["paris"]).sum())
    assert f"kyoto: above paris at {above} of 14 sites, most at {site} ({own:.3f}, there {other:.3f})" in both
    assert "differ by chance, too; three or more neighbours" in both
    (pasted,) = re.findall(r"^kyoto: to edit there, .* --layers (\S+) .* --sites (\S+) ", both, re.MULTILINE)
    assert blocks(pasted[0])
    assert select_sites(mt.load_model("llama"), selector(pasted[1]), blocks(pasted[0])).keys() <= set(norms.index)
    assert invoke(*COLLECT).exit_code == 0
    alone = invoke("trace", "m.safetensors", "llama").stdout
    assert "neighbours as concepts, too, each with --concept NAME=FILE" in alone
    assert "above" not in alone
    assert "neighbours" not in invoke("trace", "ready.safetensors", "llama", "--concept", "kyoto").stdout


def test_trace_takes_a_name_for_a_name(invoke: Invoke) -> None:
    for name in ("[/x]", "law [eu] of", "US$_$"):
        assert invoke(*COLLECT, "--concept", f"{name}=paris.jsonl", "-o", "named.safetensors").exit_code == 0
        result = invoke("trace", "named.safetensors", "llama", "--png", "named.png")
        assert result.exit_code == 0
        assert f"{name}: ‖W⁺‖/‖W‖" in result.stdout


def test_a_trace_needs_no_pandas(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    result = invoke("trace", "ready.safetensors", "llama", "--csv", "t.csv", "--png", "t.png", "--json", "t.json")
    assert result.exit_code == 0
    atlas = mt.Atlas(mt.load_model("llama"), mt.Moments.load("ready.safetensors"))
    with pytest.raises(mt.MnemotomyError, match="tables need pandas: pip install pandas"):
        atlas.trace()


def test_outputs_of_a_trace_are_checked_before_anything_is_read(invoke: Invoke) -> None:
    fails(invoke("trace", "none.safetensors", "llama", "--png", "t.foo"), "cannot write a figure as .foo")
    Path("folder.csv").mkdir()
    fails(invoke("trace", "none.safetensors", "llama", "--csv", "folder.csv"), "folder.csv is a folder")


def test_trace_as_json_prints_nothing_else(invoke: Invoke) -> None:
    options = ["--concept", "reference", "--cut", "float-eps", "--filter", "hard=0.2"]
    rows = json.loads(invoke("trace", "ready.safetensors", "llama", "--json", "-", *options).stdout)
    assert {row["concept"] for row in rows} == {"reference"}
    atlas = mt.Atlas(mt.load_model("llama"), mt.Moments.load("ready.safetensors"), mt.FloatEpsCut())
    expected = atlas.trace(["reference"], mt.Hard(0.2))
    assert [row["weight_norm"] for row in rows] == pytest.approx(list(expected["weight_norm"]), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.safetensors", "llama"], "none.safetensors does not exist"),
        (["damaged.safetensors", "llama"], "damaged.safetensors is damaged"),
        (["llama/model.safetensors", "llama"], "is not a moments file; make one with 'mnemotomy collect'"),
        (["ready.safetensors", "other"], "the moments were collected on another model"),
        (["ready.safetensors", "llama", "--concept", "rome"], "no concept 'rome' in this atlas; there are 'kyoto'"),
        (["ready.safetensors", "llama", "--cut", "fine"], "--cut 'fine': unknown cut 'fine'; choose one of relative"),
        (
            ["ready.safetensors", "llama", "--cut", "relative=x"],
            "--cut 'relative=x': relative.ratio must be a valid number",
        ),
        (["ready.safetensors", "llama", "--cut", "condition"], "needs 'condition'"),
        (["ready.safetensors", "llama", "--filter", "soft=1"], "'soft' takes no value"),
        (["ready.safetensors", "llama", "--csv", "kyoto.jsonl/t.csv"], "kyoto.jsonl"),
        (["ready.safetensors", "llama", "--json", "taken"], "taken"),
    ],
)
def test_trace_fails_in_one_line(folder: Path, invoke: Invoke, arguments: list[str], message: str) -> None:
    (folder / "taken").mkdir()
    (folder / "damaged.safetensors").write_bytes((folder / "ready.safetensors").read_bytes()[:2000])
    fails(invoke("trace", *arguments), message)


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
