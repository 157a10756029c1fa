"""``mnemotomy evaluate`` reads what OpenUnlearning wrote: evaluations and checkpoints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import evaluate


def open_unlearnings(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The same as OpenUnlearning's evaluator writes it: more metrics, a row without a score, no words."""
    theirs = json.loads(json.dumps(evaluation))
    del theirs["forget_Q_A_ROUGE"]["words"]
    theirs["exact_memorization"]["value_by_index"]["0"] = {"score": None}
    theirs["mia_gradnorm"] = theirs["mia_loss"]
    theirs["privleak"] = {"agg_value": -12.5}
    theirs["forget_Q_A_PARA_ROUGE"] = theirs["forget_Q_A_ROUGE"]
    return theirs


def test_evaluations_of_open_unlearning_stand_for_the_models(pair: Path, tmp_path: Path):
    options = ["--data", pair / "tofu", "--forget", "forget10", "--max-new-tokens", "5", "--json", "-"]
    for name in ("full", "retain90"):
        result = evaluate(pair / name, *options, "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
        written = tmp_path / name / "TOFU_EVAL.json"
        written.write_text(json.dumps(open_unlearnings(json.loads(written.read_text())), indent=4))
    models = evaluate(pair / "base", "--before", pair / "full", "--gold", pair / "retain90", *options)
    files = evaluate(
        pair / "base", "--before", tmp_path / "full/TOFU_EVAL.json", "--gold", tmp_path / "retain90/TOFU_EVAL.json",
        *options,
    )  # fmt: skip
    assert files.exit_code == 0, files.output
    expected, found = json.loads(models.stdout), json.loads(files.stdout)
    assert found["scores"] == pytest.approx(expected["scores"])
    assert found["forget_quality"] == pytest.approx(expected["forget_quality"])
    assert found["before"]["privleak"] == -12.5
    assert {name: found["gold"][name] for name in expected["gold"]} == pytest.approx(expected["gold"])


def test_an_evaluation_of_another_split_is_refused_before_anything_is_observed(pair: Path, tmp_path: Path):
    other = tmp_path / "TOFU_EVAL.json"
    other.write_text(json.dumps({"forget_truth_ratio": {"agg_value": 1.0, "value_by_index": {"0": {"score": 1.0}}}}))
    options = ["--data", pair / "tofu", "--forget", "forget10"]
    result = evaluate(pair / "full", "--gold", other, *options)
    assert result.exit_code == 2
    assert "is of 1 forgotten questions, but there are 6 here" in result.stderr
    result = evaluate(pair / "full", "--gold", tmp_path / "none.json", *options)
    assert result.exit_code == 2
    assert "does not exist" in result.stderr


def test_a_checkpoint_of_a_trainer_is_a_model(pair: Path, tmp_path: Path):
    """OpenUnlearning's results are checkpoints of transformers' trainer, with evaluations below."""
    checkpoint = tmp_path / "checkpoint-5"
    shutil.copytree(pair / "full", checkpoint)
    for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"anything": 1}, checkpoint / name)
    (checkpoint / "trainer_state.json").write_text('{"global_step": 5}')
    (checkpoint / "evals").mkdir()
    (checkpoint / "evals" / "TOFU_SUMMARY.json").write_text("{}")
    options = ["--data", pair / "tofu", "--forget", "forget10", "--max-new-tokens", "0", "--json", "-"]
    first, second = (json.loads(evaluate(one, *options).stdout) for one in (checkpoint, pair / "full"))
    assert first == second
