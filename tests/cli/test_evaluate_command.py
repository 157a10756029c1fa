"""``mnemotomy evaluate``: OpenUnlearning's keys, scores between a pair, the user's own data."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from commands import evaluate
from tiny_language import write_lines

from mnemotomy.evaluation.evaluating import read_evaluation
from mnemotomy.metrics.tofu.evaluation import summary
from mnemotomy.metrics.tofu.meanings import meaning

KEYS = {
    "exact_memorization",
    "extraction_strength",
    "forget_Q_A_Prob",
    "forget_Q_A_ROUGE",
    "forget_truth_ratio",
    "model_utility",
    "mia_loss",
    "mia_zlib",
    "mia_min_k",
    "mia_min_k_plus_plus",
}


def test_all_keys_and_the_retain_model_scores_one(pair: Path, tmp_path: Path):
    options = ["--data", pair / "tofu", "--forget", "forget10", "--max-new-tokens", "5", "--out", tmp_path]
    result = evaluate(pair / "retain90", "--full", pair / "full", "--gold", pair / "retain90", *options, "--json", "-")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found.keys() >= KEYS | {"forget_quality", "retain_Q_A_PARA_Prob", "wf_Truth_Ratio"}
    assert found["left_out"] == {}
    assert found["forget_quality"] == 1.0
    assert found["scores"]["memorization"] == pytest.approx(1.0)
    assert found["scores"]["privacy"] == pytest.approx(1.0)
    assert json.loads((tmp_path / "TOFU_SUMMARY.json").read_text()) == {
        key: value for key, value in found.items() if isinstance(value, float)
    }
    assert found["gold"]["forget_Q_A_Prob"] == found["forget_Q_A_Prob"] != found["before"]["forget_Q_A_Prob"]
    assert summary(read_evaluation(tmp_path)).keys() >= KEYS
    full = evaluate(pair / "full", "--gold", pair / "retain90", *options[:-1], tmp_path, "--json", "-")
    assert json.loads(full.stdout)["scores"]["memorization"] < 1e-9


def test_before_and_after_without_a_gold_model_and_what_each_number_says(pair: Path):
    options = ["--data", pair / "tofu", "--forget", "forget10", "--max-new-tokens", "5"]
    result = evaluate(pair / "retain90", "--before", pair / "full", *options)
    assert result.exit_code == 0, result.output
    head, *lines = [line for line in result.stdout.splitlines() if "metric" in line or ":" in line]
    assert [part.strip() for part in head.split("┃")[1:-1]] == ["metric", "before", "after"]
    said = dict(line.split(": ", 1) for line in lines)
    assert said.keys() >= KEYS | {"retain_Q_A_PARA_Prob", "wf_Truth_Ratio", "ra_Q_A_Prob_normalised"}
    assert all(said.values())
    found = json.loads(evaluate(pair / "retain90", "--before", pair / "full", *options, "--json", "-").stdout)
    alone = json.loads(evaluate(pair / "full", *options, "--json", "-").stdout)
    assert found["before"] == {name: value for name, value in alone.items() if isinstance(value, float)}
    assert "scores" not in found


def test_every_score_is_explained(pair: Path):
    options = ["--data", pair / "tofu", "--forget", "forget10", "--fluency-base", pair / "base"]
    result = evaluate(pair / "retain90", "--gold", pair / "retain90", "--max-new-tokens", "5", *options)
    assert result.exit_code == 0, result.output
    said = dict(line.split(": ", 1) for line in result.stdout.splitlines() if ": " in line)
    assert said.keys() >= {"score overall", "score tr", "score s_zlib", "score ff_perplexity", "forget_quality"}
    assert all(said.values())
    assert meaning("unheard_of") == ""


def test_the_users_own_files(pair: Path, tmp_path: Path):
    lines = [{"question": f"In which country is Rome {i} ?", "answer": "Italy ."} for i in range(4)]
    files = [write_lines(tmp_path / f"{name}.jsonl", lines) for name in ("forget", "retain")]
    options = ["--forget", files[0], "--retain", files[1], "--max-new-tokens", "4"]
    result = evaluate(pair / "full", *options, "--gold", pair / "retain90", "--json", "-")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found.keys() >= {"exact_memorization", "forget_Q_A_Prob", "forget_Q_A_ROUGE", "retain_Q_A_Prob"}
    assert found["left_out"].keys() == {
        "forget_Q_A_PARA_Prob", "forget_truth_ratio", "model_utility", "scores",
        "mia_loss", "mia_zlib", "mia_min_k", "mia_min_k_plus_plus",
    }  # fmt: skip
    assert "left out: mia_loss needs a holdout" in result.stderr
    unseen = write_lines(tmp_path / "unseen.jsonl", [{"question": "the capital ?", "answer": "Paris"}])
    result = evaluate(pair / "full", *options, "--holdout", unseen)
    assert result.exit_code == 0, result.output
    assert "mia_loss" in result.stdout


def test_texts_in_other_scripts_get_rouge_by_unicodes_words(pair: Path, tmp_path: Path):
    lines = [{"question": "In which country is Kyoto ?", "answer": "日本 の 都市"}]
    file = write_lines(tmp_path / "forget.jsonl", lines)
    options = ["--forget", file, "--retain", file, "--max-new-tokens", "4", "--out", tmp_path / "out", "--json", "-"]
    with pytest.warns(UserWarning, match="drops 5 of 5 words of the true answers, such as '日'"):
        assert json.loads(evaluate(pair / "full", *options).stdout)["rouge"] == "ascii"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = evaluate(pair / "full", *options, "--rouge", "unicode")
    assert json.loads(result.stdout)["rouge"] == "unicode"
    assert json.loads((tmp_path / "out" / "TOFU_EVAL.json").read_text())["forget_Q_A_ROUGE"]["words"] == "unicode"
