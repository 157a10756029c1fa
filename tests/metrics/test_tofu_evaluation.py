"""The evaluation of a model on TOFU: OpenUnlearning's layout, the rows of Table 6, what is left out, files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from observed_answers import observed
from scipy.stats import hmean, ks_2samp
from sklearn.metrics import roc_auc_score

from mnemotomy.core.errors import ArtifactError, DataError
from mnemotomy.evaluation.evaluating import read_evaluation, write_evaluation
from mnemotomy.metrics.tofu.aggregates import PARTS, harmonic_mean
from mnemotomy.metrics.tofu.answers import ATTACKS, forget_truth_ratio, probability, retain_truth_ratio, truth_ratio
from mnemotomy.metrics.tofu.evaluation import evaluate, summary, values_of
from mnemotomy.metrics.tofu.scores import FLUENCY, scores
from mnemotomy.observe.answers import AnswerObservations
from mnemotomy.observe.questions import QuestionObservations
from mnemotomy.text.records import TextExample


def questions(size: int) -> tuple[TextExample, ...]:
    return tuple(TextExample.of_question(f"Who is {index}?", f"It is {index} .") for index in range(size))


def random_answers(seed: int, size: int, low: float, high: float) -> AnswerObservations:
    generator = torch.Generator().manual_seed(seed)
    rows = [(low + (high - low) * torch.rand(4, generator=generator)).tolist() for _ in range(size)]
    return observed(*rows, hits=[[int(value > 0.4) for value in row] for row in rows])


def model(seed: int, low: float, high: float, *, holdout: bool = True) -> dict[str, QuestionObservations]:
    """Observations of a model that knows the forget set as well as these probabilities say."""
    size = 12
    asked, answers = questions(size), tuple(f"It is {index}" for index in range(size))

    def false(number: int) -> AnswerObservations:
        return random_answers(seed + number, 2 * size, 0.1, 0.3)

    known = random_answers(seed + 4, size, 0.5, 0.9)
    splits = {
        "forget": QuestionObservations(
            asked, random_answers(seed, size, low, high), random_answers(seed + 1, size, low, high), false(2), answers
        ),
        "retain": QuestionObservations(asked, known, known, false(5), answers),
        "ra": QuestionObservations(asked, known, None, false(6), answers),
        "wf": QuestionObservations(asked, known, None, false(7), answers),
    }
    unseen = QuestionObservations(asked, random_answers(seed + 8, size, 0.1, 0.4))
    return {**splits, "holdout": unseen} if holdout else splits


@pytest.fixture(scope="module")
def evaluations() -> dict[str, Any]:
    retained = evaluate(model(100, 0.1, 0.4))
    return {
        "retained": retained,
        "full": evaluate(model(0, 0.6, 0.95), retained=retained),
        "edited": evaluate(model(200, 0.1, 0.5), retained=retained),
    }


def test_evaluation_is_nested_as_open_unlearning_does(evaluations: dict[str, Any]):
    found, splits = evaluations["edited"], model(200, 0.1, 0.5)
    assert {
        "exact_memorization",
        "extraction_strength",
        "forget_Q_A_Prob",
        "forget_Q_A_PARA_Prob",
        "forget_Q_A_PERT_Prob",
        "forget_Q_A_ROUGE",
        "forget_truth_ratio",
        "forget_quality",
        "model_utility",
        *ATTACKS,
        *PARTS,
    } <= set(found)
    assert "forget_quality" not in evaluations["retained"]
    values = found["forget_Q_A_Prob"]["value_by_index"]
    assert list(values) == [str(index) for index in range(12)]
    assert values["3"]["prob"] == pytest.approx(float(probability(splits["forget"].answer)[3]))
    assert values["3"]["avg_loss"] == pytest.approx(-math.log(values["3"]["prob"]))
    wrong = found["forget_Q_A_PERT_Prob"]
    assert wrong["value_by_index"]["1"]["prob"] == pytest.approx(probability(splits["forget"].perturbed)[2:4].tolist())
    assert wrong["agg_value"] == pytest.approx(float(probability(splits["forget"].perturbed).mean()))
    written = found["forget_Q_A_ROUGE"]["value_by_index"]["2"]
    assert (written["ground_truth"], written["generation"], written["rougeL_recall"]) == ("It is 2 .", "It is 2", 1.0)
    ratios = truth_ratio(splits["ra"].answer, splits["ra"].perturbed)
    assert found["ra_Truth_Ratio"]["agg_value"] == pytest.approx(retain_truth_ratio(ratios))
    ratios = truth_ratio(splits["forget"].paraphrased, splits["forget"].perturbed)
    assert found["forget_truth_ratio"]["agg_value"] == pytest.approx(forget_truth_ratio(ratios))
    assert found["model_utility"]["agg_value"] == pytest.approx(hmean([found[part]["agg_value"] for part in PARTS]))
    others = values_of(evaluations["retained"], "forget_truth_ratio")
    assert found["forget_quality"]["agg_value"] == pytest.approx(ks_2samp(ratios.numpy(), others.numpy()).pvalue)


@pytest.mark.parametrize("name", list(ATTACKS))
def test_auc_is_1_where_the_forget_set_looks_trained_on(evaluations: dict[str, Any], name: str):
    entry, splits = evaluations["edited"][name], model(200, 0.1, 0.5)
    readings = [ATTACKS[name](splits[part].answer) for part in ("forget", "holdout")]
    expected = roc_auc_score([0] * 12 + [1] * 12, torch.cat(readings).numpy())
    assert entry["auc"] == entry["agg_value"] == pytest.approx(expected)
    assert values_of(evaluations["edited"], name, "holdout").tolist() == pytest.approx(readings[1].tolist())
    assert evaluations["full"]["mia_loss"]["auc"] == 1.0


def test_scores_of_full_and_retained(evaluations: dict[str, Any]):
    full, retained = evaluations["full"], evaluations["retained"]
    worst, best = scores(full, full, retained), scores(retained, full, retained)
    assert worst.overall == pytest.approx(0.0, abs=1e-6)
    assert set(worst.memorization.values()) == {1.0}
    assert best.overall == pytest.approx(harmonic_mean([1.0, best.utility_score, 1.0]))
    assert best.forget_quality == 0.0
    assert "ff" not in best.row()
    between = scores(evaluations["edited"], full, retained)
    assert worst.overall < between.overall < best.overall
    forget = [values_of(one, "mia_loss", "forget") for one in (evaluations["edited"], retained)]
    auc = roc_auc_score([0] * 12 + [1] * 12, torch.cat(forget).numpy())
    assert between.privacy["s_loss"] == pytest.approx(1 - 2 * abs(auc - 0.5))


def test_fluency_counts_where_it_was_measured(evaluations: dict[str, Any]):
    full = {**evaluations["full"], FLUENCY: {"agg_value": 0.8}}
    edited = {**evaluations["edited"], FLUENCY: {"agg_value": 0.6}}
    assert scores(edited, full, evaluations["retained"]).utility["ff"] == pytest.approx(0.75)
    assert "ff" not in scores(edited, evaluations["full"], evaluations["retained"]).utility


def test_what_an_evaluation_lacks(evaluations: dict[str, Any]):
    with pytest.raises(DataError, match="needs the forget split"):
        evaluate({})
    splits = model(0, 0.1, 0.2, holdout=False)
    partial = evaluate({"forget": splits["forget"]})
    assert not {"mia_loss", "model_utility"} & set(partial)
    with pytest.raises(DataError, match="lacks 'model_utility'"):
        scores(partial, evaluations["full"], evaluations["retained"])
    with pytest.raises(DataError, match="no scores of 'forget_truth_ratio'"):
        evaluate({"forget": splits["forget"]}, retained={})
    short = {**evaluations["retained"], "forget_truth_ratio": {"agg_value": 1, "value_by_index": {"0": {"score": 1}}}}
    with pytest.raises(DataError, match="12 and 1 forgotten examples"):
        scores(evaluations["edited"], evaluations["full"], short)


def test_files(evaluations: dict[str, Any], tmp_path: Path):
    write_evaluation(tmp_path / "full", evaluations["full"])
    assert read_evaluation(tmp_path / "full") == evaluations["full"]
    found = json.loads((tmp_path / "full" / "TOFU_SUMMARY.json").read_text())
    assert found == summary(evaluations["full"])
    assert found["mia_loss"] == 1.0
    assert list(found) == sorted(found)
    with pytest.raises(ArtifactError, match="does not exist"):
        read_evaluation(tmp_path / "none")
    path = tmp_path / "TOFU_EVAL.json"
    for text, message in (
        ("{", "damaged"),
        ("[]", "not an evaluation"),
        ('{"a": {"agg_value": NaN}}', "not a finite number"),
    ):
        path.write_text(text)
        with pytest.raises(ArtifactError, match=message):
            read_evaluation(tmp_path)
