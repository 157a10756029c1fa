"""Tasks of lm-eval in an audit, and lm-eval on a saved result; both on a task of our own, without network."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from audited import COUNTRIES, FORGET, RETAIN, case, learned
from commands import call
from tiny_language import write_lines
from torch import nn

import mnemotomy as mt
from mnemotomy.audit.damage import Tasks
from mnemotomy.audit.run import AuditOptions
from mnemotomy.audit.weights import Teaching, taught
from mnemotomy.core.yaml import write_yaml
from mnemotomy.text.encoding import Encoded, encode

pytest.importorskip("lm_eval", reason="lm-eval is not installed; it comes with the extra eval")


@functools.cache
def asked_by_lm_eval(forget: bool = True) -> nn.Module:
    """Taught once more as lm-eval asks: this tokenizer ends every prompt with its end token."""
    model, words = learned(forget)
    rows = [encode(one.example, words, one.template) for one in [*(FORGET if forget else ()), *RETAIN]]
    rows = [Encoded([*row.input_ids[:-3], words.eos_token_id, *row.input_ids[-2:]], row.labels) for row in rows]
    return taught(model, rows, words, Teaching(60, 3e-3))


@pytest.fixture
def towns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In which country towns of the forget set lie, as a task: its YAML file."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    rows = [{"stem": one.question, "choices": COUNTRIES, "answer": COUNTRIES.index(one.answer)} for one in FORGET]
    data = write_lines(tmp_path / "towns.jsonl", rows)
    task = {
        "task": "towns", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{stem}}",
        "doc_to_choice": "{{choices}}", "doc_to_target": "answer", "metric_list": [{"metric": "acc"}],
    }  # fmt: skip
    path = tmp_path / "towns.yaml"
    path.write_text(write_yaml(task))
    return path


def test_a_task_of_ones_own_is_damage_where_its_score_falls(towns: Path) -> None:
    asked, attack = case(), Tasks.named([str(towns)])
    readings = {"before": attack.read(asked_by_lm_eval(), asked), "after": attack.read(asked_by_lm_eval(False), asked)}
    before, after = (readings[role].curve["towns"] for role in ("before", "after"))
    assert before == 1.0
    assert after < 0.7  # it knows the countries, not the towns
    found = attack.find(readings, asked)
    assert found.harm
    assert found.sentence == f"Tasks of lm-eval: towns {round(100 * after)} % (100 % before)."
    assert not attack.find({**readings, "after": readings["before"]}, asked).harm


def test_an_audit_with_a_task(towns: Path, tmp_path: Path) -> None:
    attack = Tasks.named([str(towns)])
    options = AuditOptions(("greedy",), [str(towns)], case().template, folder=tmp_path / "audit", progress=False)
    models = asked_by_lm_eval(), asked_by_lm_eval(False)  # so that the task reads what they know, not what they guess
    report = mt.audit(*models, learned()[1], FORGET, RETAIN, options=options)
    assert [one.attack for one in report.findings] == ["greedy", "tasks"]
    assert "towns" in report.verdict.damage
    report.save(tmp_path / "audit")
    assert "towns" in (tmp_path / "audit" / "audit.html").read_text()
    towns.write_text(f"{towns.read_text()}num_fewshot: 0\n")
    assert options.chosen()[-1] != attack  # a changed file is another task


def by_its_command(model: str, task: Path, folder: Path) -> float:
    """The score of a task as lm-eval's own command gives it, without network."""
    given = ["--model", "hf", "--model_args", model, "--tasks", str(task), "--device", "cpu"]
    subprocess.run(
        [sys.executable, "-m", "lm_eval", *given, "--output_path", str(folder)], check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "datasets")},
    )  # fmt: skip
    (written,) = folder.rglob("results_*.json")
    score: float = json.loads(written.read_text())["results"]["towns"]["acc,none"]
    return score


@pytest.mark.slow
def test_the_command_of_lm_eval_reads_what_forget_saves(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mt.save_model(asked_by_lm_eval(), "model", tokenizer=learned()[1])
    for name, probes in (("forget", FORGET[:5]), ("retain", RETAIN)):
        write_lines(Path(f"{name}.jsonl"), [{"question": one.question, "answer": one.answer} for one in probes])
    options = ["--forget", "forget.jsonl", "--retain", "retain.jsonl", "--plain", "--trials", "3", "--no-two-sided"]
    for as_ in ("model", "lora"):
        done = call("forget", "model", f"as-{as_}", *options, "--force", "--as", as_)
        assert done.exit_code == 0, done.output
    scores = {}
    for name, arguments in (("model", ""), ("as-model", ""), ("as-lora", ",peft=as-lora")):
        model = f"pretrained={'model' if arguments else name}{arguments},dtype=float32"
        scores[name] = by_its_command(model, towns, Path(f"scored-{name}"))
        assert Tasks.named([str(towns)]).read(mt.load_model(name), case()).curve == {"towns": scores[name]}
    assert scores["model"] == 1.0
    asked = ["--forget", "forget.jsonl", "--retain", "retain.jsonl", "--plain", "--only", "tasks"]
    done = call("audit", "model", "as-model", "audit", *asked, "--tasks", str(towns))
    assert done.exit_code == 0, done.output
    assert f"Tasks of lm-eval: towns {round(100 * scores['as-model'])} % (100 % before)." in done.stdout
