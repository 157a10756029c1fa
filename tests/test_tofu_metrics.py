"""TOFU's metrics against values worked out by hand, by scikit-learn and by scipy, and against the paper's Table 6."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import hmean, ks_2samp
from sklearn.metrics import roc_auc_score
from torch import Tensor

from mnemotomy.data.tofu import Question
from mnemotomy.errors import ArtifactError, DataError
from mnemotomy.metrics.tofu.attacks import (
    ATTACKS,
    loss_attack,
    min_k_attack,
    min_k_plus_plus_attack,
    zlib_attack,
)
from mnemotomy.metrics.tofu.evaluation import evaluate, values_of
from mnemotomy.metrics.tofu.exact_memorization import exact_memorization
from mnemotomy.metrics.tofu.extraction_strength import extraction_strength
from mnemotomy.metrics.tofu.forget_quality import forget_quality, log_forget_quality
from mnemotomy.metrics.tofu.harmonic_mean import harmonic_mean
from mnemotomy.metrics.tofu.model_utility import PARTS, model_utility
from mnemotomy.metrics.tofu.probability import average_loss, normalised_probability, probability
from mnemotomy.metrics.tofu.rescaling import relative_utility, rescaled_memorization
from mnemotomy.metrics.tofu.rouge import rouge
from mnemotomy.metrics.tofu.scores import FLUENCY, Scores, scores
from mnemotomy.metrics.tofu.summary import read_evaluation, summary, write_evaluation
from mnemotomy.metrics.tofu.truth_ratio import forget_truth_ratio, retain_truth_ratio, truth_ratio
from mnemotomy.observe.answers import AnswerObservations
from mnemotomy.observe.questions import QuestionObservations


def observed(
    *probabilities: list[float],
    hits: list[list[int]] | None = None,
    mean: float = -1.0,
    deviation: float = 0.5,
    texts: tuple[str, ...] = (),
) -> AnswerObservations:
    """Answers with these probabilities of their tokens, the end token's last."""
    flat = torch.tensor([value for row in probabilities for value in row])
    marks = [[1] * len(row) for row in probabilities] if hits is None else hits
    return AnswerObservations(
        tokens=torch.arange(len(flat)),
        log_probability=flat.log(),
        hit=torch.tensor([bool(mark) for row in marks for mark in row]),
        mean=torch.full_like(flat, mean),
        deviation=torch.full_like(flat, deviation),
        lengths=torch.tensor([len(row) for row in probabilities]),
        texts=texts or tuple(f"answer {index}" for index in range(len(probabilities))),
    )


def by_hits(*rows: list[int]) -> AnswerObservations:
    return observed(*([0.5] * len(row) for row in rows), hits=list(rows))


def close(found: Tensor, expected: list[float]):
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=1e-6)


def test_exact_memorization_leaves_the_end_out():
    close(exact_memorization(by_hits([1, 0, 1, 1, 0], [0, 1], [1, 1, 0])), [0.75, 0.0, 1.0])


@pytest.mark.parametrize(
    ("hits", "expected"),
    [
        ([1, 1, 1, 1, 0], 1.0),  # the end does not count
        ([0, 1, 1, 1, 1], 0.75),
        ([1, 0, 1, 1, 0], 0.5),
        ([1, 1, 0, 1, 0], 0.25),
        ([1, 1, 1, 0, 1], 0.25),  # as in OpenUnlearning, which never lets k reach T
        ([0, 0], 1.0),
        ([1, 1], 1.0),
    ],
)
def test_extraction_strength(hits: list[int], expected: float):
    close(extraction_strength(by_hits(hits)), [expected])


def test_probability_counts_the_end():
    found = observed([0.5, 0.125], [0.9])
    close(average_loss(found), [2 * math.log(2), -math.log(0.9)])
    close(probability(found), [0.25, 0.9])


def test_normalised_probability():
    true, false = observed([0.4], [0.1]), observed([0.2], [0.2], [0.1], [0.3])
    close(normalised_probability(true, false), [0.5, 0.2])
    with pytest.raises(DataError, match="3 false answers cannot be told apart by 2 questions"):
        normalised_probability(true, observed([0.2], [0.2], [0.1]))


def test_truth_ratio():
    # geometric means over the false answers: √(0.2 · 0.8) = 0.4 and √(0.1 · 0.9) = 0.3
    ratios = truth_ratio(observed([0.8], [0.2]), observed([0.2], [0.8], [0.1], [0.9]))
    close(ratios, [0.5, 1.5])
    assert forget_truth_ratio(ratios) == pytest.approx((0.5 + 1 / 1.5) / 2)
    assert retain_truth_ratio(ratios) == pytest.approx((0.5 + 0.0) / 2)


def test_truth_ratio_of_the_impossible_stays_finite():
    never = observed([1e-30])
    ratios = truth_ratio(never, observed([0.5], [0.5]))
    assert ratios.item() == pytest.approx(0.5 / 1e-10)
    assert forget_truth_ratio(ratios) == pytest.approx(2e-10)
    assert forget_truth_ratio(torch.zeros(1)) == 0.0


def test_rouge():
    found = rouge(["the cats sat", "", "dog"], ["The cat sat down", "a b", "cat"])
    assert found["rougeL_recall"] == [0.75, 0.0, 0.0]  # stems agree: 3 words of 4
    assert found["rouge1_recall"] == [0.75, 0.0, 0.0]
    assert found["rougeL_f1"][0] == pytest.approx(2 * 1.0 * 0.75 / 1.75)
    assert rouge(["sat cat"], ["cat sat"])["rougeL_recall"] == [0.5]  # in order
    with pytest.raises(DataError, match="1 generated answers came with 2"):
        rouge(["a"], ["a", "b"])


def test_forget_quality_is_the_ks_test():
    torch.manual_seed(0)
    first, second = torch.rand(40), torch.rand(50) + 0.2
    assert forget_quality(first, second) == pytest.approx(ks_2samp(first.numpy(), second.numpy()).pvalue)
    assert forget_quality(first, first) == 1.0
    # two samples of 3 apart: 2 of the C(6, 3) orders are as extreme
    assert forget_quality(torch.tensor([1.0, 2, 3]), torch.tensor([4.0, 5, 6])) == pytest.approx(0.1)
    assert log_forget_quality(0.01) == pytest.approx(-2.0)
    assert log_forget_quality(1.0) == 0.0
    assert math.isfinite(log_forget_quality(0.0))
    with pytest.raises(DataError, match="one has none"):
        forget_quality(first, torch.empty(0))


def test_harmonic_mean_and_model_utility():
    values = [0.9, 0.5, 0.7, 0.4, 0.8, 0.6, 0.3, 0.9, 0.2]
    assert harmonic_mean(values) == pytest.approx(hmean(values))
    assert model_utility(dict(zip(PARTS, values, strict=True))) == pytest.approx(hmean(values))
    assert harmonic_mean([0.0, 1.0]) == pytest.approx(2e-10)
    with pytest.raises(DataError, match="no scores"):
        harmonic_mean([])
    with pytest.raises(DataError, match="wf_Truth_Ratio is missing"):
        model_utility(dict(zip(PARTS[:8], values, strict=False)))


def test_attacks():
    text = "Rome Rome Rome Rome Rome"
    found = observed([0.5, 0.1, 0.2, 0.9, 0.3, 0.01], texts=(text,))
    loss = -sum(math.log(p) for p in (0.5, 0.1, 0.2, 0.9, 0.3, 0.01)) / 6
    close(loss_attack(found), [loss])
    close(zlib_attack(found), [loss / len(zlib.compress(text.encode()))])
    close(min_k_attack(found), [-(math.log(0.1) + math.log(0.2)) / 2])  # 2 of 5, without the end
    close(min_k_attack(found, share=0.1), [-math.log(0.1)])  # at least one
    close(min_k_plus_plus_attack(found), [-((math.log(0.1) + 1) / 0.5 + (math.log(0.2) + 1) / 0.5) / 2])
    certain = observed([0.5, 0.5], mean=0.0, deviation=0.0)
    close(min_k_plus_plus_attack(certain), [math.log(2) / 1e-3])


def test_rescaling():
    assert rescaled_memorization(0.6, full=0.9, retained=0.5) == pytest.approx(0.25)
    assert rescaled_memorization(0.4, full=0.9, retained=0.5) == pytest.approx(0.25)
    assert rescaled_memorization(0.5, full=0.9, retained=0.5) == 0.0
    assert rescaled_memorization(0.0, full=0.6, retained=0.5) == 1.0
    assert rescaled_memorization(0.5, full=0.5, retained=0.5) == 0.0
    assert rescaled_memorization(0.6, full=0.5, retained=0.5) == 1.0
    assert relative_utility(0.3, 0.6) == pytest.approx(0.5)
    assert relative_utility(0.7, 0.6) == 1.0
    assert relative_utility(0.0, 0.0) == 0.0


@pytest.mark.parametrize(
    ("memorization", "utility", "privacy", "expected"),
    [
        (
            [0.0276, 0.0201, 0.0842, 0.0138],
            [0.8616, 1.0],
            [0.7688, 0.7255, 0.6905, 0.4829],
            [0.8177, 0.9627, 0.9256, 0.6453],
        ),
        (
            [0.0953, 0.0039, 0.0095, 0.1692],
            [0.9836, 0.9891],
            [0.9380, 0.9666, 0.9468, 0.9688],
            [0.9549, 0.9254, 0.9864, 0.9549],
        ),
        ([1.0] * 4, [1.0, 1.0], [0.0071, 0.0023, 0.0062, 0.0031], [0.0, 0.0, 1.0, 0.0038]),
    ],
    ids=["engram", "AltPO", "full"],
)
def test_rows_of_table_6(memorization: list[float], utility: list[float], privacy: list[float], expected: list[float]):
    found = Scores(
        dict(zip(("em", "es", "pp", "tr"), memorization, strict=True)),
        dict(zip(("mu", "ff"), utility, strict=True)),
        dict(zip(ATTACKS, privacy, strict=True)),
        -0.1,
    )
    row = found.row()
    published = dict(zip(("overall", "memorization", "utility", "privacy"), expected, strict=True))
    assert {name: row[name] for name in published} == pytest.approx(published, abs=1e-4)
    assert list(row)[:3] == ["overall", "memorization", "em"]
    assert list(row)[-1] == "forget_quality"


def questions(size: int) -> tuple[Question, ...]:
    return tuple(Question(f"Who is {index}?", f"It is {index} .") for index in range(size))


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
    with pytest.raises(ArtifactError, match="no file"):
        read_evaluation(tmp_path / "none")
    path = tmp_path / "TOFU_EVAL.json"
    for text, message in (("{", "damaged"), ("[]", "no evaluation"), ('{"a": {"agg_value": NaN}}', "no number")):
        path.write_text(text)
        with pytest.raises(ArtifactError, match=message):
            read_evaluation(tmp_path)
