"""``mnemotomy apply --as edit`` and ``mnemotomy edit``: a saved edit shown, applied, combined; errors in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands import Invoke, call, fails, work_beside
from recipe_file import recipe
from tiny_language import concept_files, save_llama, save_qwen
from typer.testing import CliRunner

import mnemotomy as mt
from mnemotomy.cli import app
from mnemotomy.engram.sites import all_sites
from mnemotomy.recipe import guarding


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, an edit of each of two concepts and one of another model."""
    folder = tmp_path_factory.mktemp("edits")
    concept_files(folder)
    save_llama(folder / "models" / "llama")
    save_llama(folder / "models" / "other", seed=1)
    save_qwen(folder / "models" / "tied")
    for name, fields in (
        ("kyoto", {"erase": ["kyoto"], "filter": "hard=0.3"}),
        ("paris", {"erase": ["paris"], "strength": "weight-norm"}),
        ("foreign", {"model": "models/other"}),
        ("shared", {"model": "models/tied", "sites": ["lm_head"], "untie": True}),
        ("half", {"erase": ["kyoto"], "dtype": "bfloat16"}),
    ):
        path = recipe(folder, f"{name}.yaml", **fields)
        done = CliRunner().invoke(app, ["apply", str(path), str(folder / f"{name}.safetensors"), "--as", "edit"])
        assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["apply", str(folder / "kyoto.yaml"), str(folder / "applied")])
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def folder(tmp_path: Path, ready: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return work_beside(ready, tmp_path, monkeypatch)


@pytest.fixture
def invoke(folder: Path) -> Invoke:
    return call


def test_an_edit_applied_later_is_the_recipe_applied_at_once(invoke: Invoke) -> None:
    result = invoke("edit", "apply", "kyoto.safetensors", "models/llama", "out")
    assert result.exit_code == 0, result.output
    assert "out: edited 14 sites" in result.stdout
    assert mt.fingerprint(mt.load_model("out")) == mt.fingerprint(mt.load_model("applied"))
    record, at_once = (json.loads(Path(one, "mnemotomy.json").read_text()) for one in ("out", "applied"))
    assert record["model"]["fingerprint_after"] == at_once["model"]["fingerprint_after"]
    assert record["source"]["recipe_hash"] == at_once["recipe_hash"]
    card = Path("out", "README.md").read_text()
    for part in (
        "base_model: models/llama",
        "| kyoto | -1.0 |",
        "hard (threshold 0.3)",
        record["source"]["sha256"],
        "audit",
    ):
        assert part in card
    assert invoke("edit", "apply", "kyoto.safetensors", "models/llama", "out").exit_code == 0  # replaces its own


def test_a_strength_scales_and_minus_one_injects(invoke: Invoke) -> None:
    assert invoke("edit", "apply", "kyoto.safetensors", "models/llama", "out", "--strength", "-0.5").exit_code == 0
    model = mt.load_model("models/llama")
    expected = -0.5 * mt.Edit.load("kyoto.safetensors")
    assert mt.fingerprint(expected.apply(model)) == mt.fingerprint(mt.load_model("out"))
    assert "unlearning" not in Path("out", "README.md").read_text().split("---")[1]


def test_what_ruins_the_model_is_refused_unless_forced(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarding, "WRITES", 1e30)  # this model writes no English, and cannot lose much
    monkeypatch.setattr(guarding, "COLLAPSE", -10.0)
    arguments = ("edit", "apply", "kyoto.safetensors", "models/llama", "out")
    fails(invoke(*arguments), "so what should stay is lost")
    assert not Path("out").exists()
    assert invoke(*arguments, "--force").exit_code == 0
    assert json.loads(Path("out", "mnemotomy.json").read_text())["guards"]["concerns"]
    assert "**Note:** the mean loss on 16 general sentences is" in Path("out", "README.md").read_text()


def test_the_dtype_is_that_of_the_edit(invoke: Invoke) -> None:
    assert invoke("edit", "apply", "half.safetensors", "models/llama", "out").exit_code == 0
    assert mt.load_model("out", dtype="bfloat16").dtype is torch.bfloat16
    fails(invoke("edit", "apply", "half.safetensors", "models/llama", "b", "--dtype", "float32"), "for another model")


def test_a_shared_weight_is_untied_when_asked(invoke: Invoke) -> None:
    fails(invoke("edit", "apply", "shared.safetensors", "models/tied", "out"), "give --untie")
    assert invoke("edit", "apply", "shared.safetensors", "models/tied", "out", "--untie").exit_code == 0
    assert json.loads(Path("out/mnemotomy.json").read_text())["untied"] == ["lm_head.weight"]


def test_an_edit_is_shown(invoke: Invoke) -> None:
    result = invoke("edit", "show", "paris.safetensors", "--json", "shown.json")
    assert result.exit_code == 0
    found = json.loads(Path("shown.json").read_text())
    edit = mt.Edit.load("paris.safetensors")
    assert found["fingerprint"] == edit.fingerprint == mt.fingerprint(mt.load_model("models/llama"))
    assert {one["site"]: one["norm"] for one in found["sites"]} == {s: float(d.norm()) for s, d in edit.items()}
    assert found["about"]["recipe"]["model"] == "models/llama"
    assert found["terms"][0]["concepts"] == ["paris"]
    for part in (
        edit.fingerprint,
        "paris: a strength per site",
        "from models/llama",
        "model.layers.1.mlp.down_proj",
    ):
        assert part in result.stdout
    assert f"{found['sites'][0]['norm']:.4g}" in result.stdout
    assert json.loads(invoke("edit", "show", "paris.safetensors", "--json", "-").stdout) == found


def test_edits_of_one_model_are_combined(invoke: Invoke) -> None:
    result = invoke("edit", "combine", "both.safetensors", "kyoto.safetensors=0.5", "paris.safetensors")
    assert result.exit_code == 0, result.output
    kyoto, paris, both = (mt.Edit.load(f"{name}.safetensors") for name in ("kyoto", "paris", "both"))
    for site, delta in both.items():
        assert torch.equal(delta, 0.5 * kyoto[site] + paris[site])
    shown = json.loads(invoke("edit", "show", "both.safetensors", "--json", "-").stdout)
    assert [term["concepts"] for term in shown["terms"]] == [["kyoto"], ["paris"]]
    assert shown["terms"][0]["strength"] == -0.5
    assert [one["weight"] for one in shown["about"]["combined"]] == [0.5, 1.0]
    assert invoke("edit", "apply", "both.safetensors", "models/llama", "out").exit_code == 0
    expected = (0.5 * kyoto + paris).apply(mt.load_model("models/llama"))
    assert mt.fingerprint(mt.load_model("out")) == mt.fingerprint(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "none.safetensors"], "none.safetensors does not exist"),
        (["show", "models/llama/model.safetensors"], "make one with 'mnemotomy apply --as edit'"),
        (["show", "kyoto.safetensors", "--json", "kyoto.safetensors"], "is read by this command"),
        (["apply", "kyoto.safetensors", "models/other", "out"], "this edit was made for another model"),
        (["apply", "kyoto.safetensors", "./none", "out"], "the model folder none does not exist"),
        (["apply", "applied/model.safetensors", "models/llama", "applied"], "which this run would replace"),
        (["apply", "kyoto.safetensors", "models/llama", "."], "contains files that mnemotomy did not write"),
        (["apply", "kyoto.safetensors", "models/llama", "out", "--strength", "nan"], "infinite"),
        (["combine", "out", "kyoto.safetensors", "foreign.safetensors"], "belong to different models"),
        (["combine", "out", "kyoto.safetensors=much"], "'much' is not a finite number; give a weight as in EDIT=0.5"),
        (["combine", "out", "kyoto.safetensors=inf"], "'inf' is not a finite number"),
        (["combine", "out", "kyoto.safetensors", "kyoto.safetensors=2"], "kyoto.safetensors is given twice"),
        (["combine", "kyoto.safetensors", "kyoto.safetensors", "paris.safetensors"], "is read by this command"),
        (["combine", "out", "none.safetensors"], "none.safetensors does not exist"),
    ],
)
def test_a_wrong_call_writes_one_line_and_no_file(
    folder: Path, invoke: Invoke, arguments: list[str], message: str
) -> None:
    before = (folder / "kyoto.safetensors").read_bytes()
    there = sorted(folder.iterdir())
    fails(invoke("edit", *arguments), message)
    assert sorted(folder.iterdir()) == there
    assert (folder / "kyoto.safetensors").read_bytes() == before


@pytest.mark.parametrize("command", ["show", "apply", "combine"])
def test_help_shows_an_example(invoke: Invoke, command: str) -> None:
    assert f"Example:\n    mnemotomy edit {command}" in invoke("edit", command, "--help").stdout


def test_no_input_is_written_over_nor_the_folder_of_a_model(invoke: Invoke) -> None:
    before = {path.name: path.read_bytes() for path in Path("models/llama").iterdir()}
    collecting = ["collect", "models/llama", "--concept", "kyoto=kyoto.jsonl", "--reference", "rest.jsonl"]
    moments = invoke(*collecting, "-o", "m.safetensors")
    assert moments.exit_code == 0, moments.output
    target = "models/llama/model.safetensors"
    for command in (
        [*collecting, "-o", target],
        ["trace", "m.safetensors", "models/llama", "--csv", target],
        ["trace", "m.safetensors", "models/llama", "--json", target],
    ):
        result = invoke(*command)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
        assert "lies in models/llama, which this command reads" in result.stderr
    assert {path.name: path.read_bytes() for path in Path("models/llama").iterdir()} == before
    twice = invoke("trace", "m.safetensors", "models/llama", "--csv", "one", "--png", "one")
    assert (twice.exit_code, "one is given for two outputs" in twice.stderr) == (2, True)


def test_a_sum_keeps_the_dtype_and_is_finite(invoke: Invoke) -> None:
    assert invoke("edit", "combine", "sum.safetensors", "half.safetensors").exit_code == 0
    for edit in ("sum", "half"):
        assert invoke("edit", "apply", f"{edit}.safetensors", "models/llama", edit).exit_code == 0
    assert mt.fingerprint(mt.load_model("sum")) == mt.fingerprint(mt.load_model("half"))
    mixed = invoke("edit", "combine", "mixed.safetensors", "kyoto.safetensors", "half.safetensors")
    assert (mixed.exit_code, "in bfloat16 and in float32" in mixed.stderr) == (2, True)
    result = invoke("edit", "combine", "huge.safetensors", "kyoto.safetensors=1e308")
    assert (result.exit_code, Path("huge.safetensors").exists()) == (2, False)
    result = invoke("edit", "combine", "huge.safetensors", "kyoto.safetensors=inf")
    assert (result.exit_code, Path("huge.safetensors").exists()) == (2, False)


def test_an_edit_is_shown_with_how_it_was_made_and_its_share_of_the_weights(invoke: Invoke) -> None:
    assert invoke("apply", "kyoto.yaml", "made.safetensors", "--as", "edit").exit_code == 0
    result = invoke("edit", "show", "made.safetensors")
    assert "cut relative (ratio 1e-06); filter " in result.stdout
    assert "‖ΔW‖/‖W‖" in result.stdout
    shown = json.loads(invoke("edit", "show", "made.safetensors", "--json", "-").stdout)
    norms = shown["about"]["weight_norms"]
    sites = {name: site for name, site in all_sites(mt.load_model("models/llama")).items() if name in norms}
    assert {name: pytest.approx(float(site.weight().norm())) for name, site in sites.items()} == norms
