"""trace on the command line: what it prints and writes, and every error as one line and status 2."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from commands import COLLECT, Invoke, fails
from drawn import titles

import mnemotomy as mt
from mnemotomy.cli.options import blocks, selector
from mnemotomy.engram.sites import select_sites


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
