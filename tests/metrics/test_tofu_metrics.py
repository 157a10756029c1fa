"""TOFU's metrics against values worked out by hand, by scikit-learn and by scipy, and against the paper's Table 6."""

from __future__ import annotations

import math
import zlib

import pytest
import torch
from observed_answers import observed
from scipy.stats import hmean, ks_2samp
from torch import Tensor

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.metrics.tofu.aggregates import (
    PARTS,
    forget_quality,
    harmonic_mean,
    log_forget_quality,
    model_utility,
    relative_utility,
    rescaled_memorization,
)
from mnemotomy.metrics.tofu.answers import (
    ATTACKS,
    average_loss,
    exact_memorization,
    extraction_strength,
    forget_truth_ratio,
    loss_attack,
    min_k_attack,
    min_k_plus_plus_attack,
    normalised_probability,
    probability,
    retain_truth_ratio,
    truth_ratio,
    zlib_attack,
)
from mnemotomy.metrics.tofu.rouge import rouge, unicode_words
from mnemotomy.metrics.tofu.scores import Scores
from mnemotomy.observe.answers import AnswerObservations


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
    with pytest.raises(DataError, match="3 false answers do not divide among 2 questions"):
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
    with pytest.raises(DataError, match="1 written answers came with 2"):
        rouge(["a"], ["a", "b"])
    with pytest.raises(ConfigurationError, match="'ascii' or 'unicode', not 'latin'"):
        rouge(["a"], ["a"], "latin")


IDENTICAL = [
    "京都は日本の都市です。",
    "Киото находится в Японии.",
    "كيوتو في اليابان",
    "Το Κιότο είναι στην Ιαπωνία",
    "क्योटो जापान में है",
    "เกียวโตอยู่ในญี่ปุ่น",
]


@pytest.mark.parametrize("text", IDENTICAL)
def test_identical_texts_of_every_script_agree(text: str):
    with pytest.warns(UserWarning, match="drops .* words of the true answers.*--rouge unicode"):
        assert rouge([text], [text])["rougeL_recall"] == [0.0]  # OpenUnlearning's definition
    assert rouge([text], [text], "unicode") == {"rouge1_recall": [1.0], "rougeL_f1": [1.0], "rougeL_recall": [1.0]}
    assert rouge(["other words"], [text], "unicode")["rougeL_recall"] == [0.0]


def test_words_of_every_script():
    assert unicode_words("Don't STOP, snake_case 42!") == ["don", "t", "stop", "snake", "case", "42"]
    assert unicode_words("Ame\u0301en lebt in Zürich") == ["améen", "lebt", "in", "zürich"]
    assert unicode_words("हिन्दी भाषा") == ["हिन्दी", "भाषा"]
    assert unicode_words("می\u200cروم") == ["میروم"]
    assert unicode_words("京都Kyoto都") == ["京", "都", "kyoto", "都"]
    assert unicode_words("ที่นี่") == ["ที่", "นี่"]
    assert unicode_words("👍 —") == []
    japanese = rouge(["京都は中国の都市です"], ["京都は日本の都市です"], "unicode")
    assert japanese["rougeL_recall"] == [0.8]


def test_words_of_unicode_are_openunlearnings_in_ascii(recwarn: pytest.WarningsRecorder):
    texts = ["The cats sat on the mat.", "A dog's 2 toys, un-wanted_things", "I do not know — sorry…"]
    for written in texts:
        assert rouge([written] * 3, texts, "unicode") == rouge([written] * 3, texts)
    rouge(["Améen"], ["Améen"])  # split, not dropped
    assert not recwarn


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
