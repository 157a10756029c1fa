"""Counts in texts, by hand; intervals against scipy and against their meaning."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mnemotomy.core.errors import DataError
from mnemotomy_bench.metrics.interval import bootstrap_interval, mean_and_spread
from mnemotomy_bench.metrics.structure import (
    Structure,
    equations,
    final_number,
    numbered_steps,
    sentences,
    structure,
    words,
)

STEPWISE = """Step 1: In May, Natalia sold 48 / 2 = 24 clips.
Step 2: Altogether she sold 48 + 24 = 72 clips.
#### 72"""
NARRATIVE = "Natalia sold 48/2 = <<48/2=24>>24 clips in May. So she sold 48+24 = 72 clips, i.e. 1.5 times as many!"


def test_a_solution_in_steps():
    assert structure(STEPWISE) == Structure(words=20, sentences=3, numbered_steps=2, equations=2)


def test_a_solution_as_a_narrative():
    found = structure(NARRATIVE)
    assert (found.numbered_steps, found.equations) == (0, 2)
    assert structure("") == Structure(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1. First\n2. Second\n3) Third", 3),
        ("**Step 1:** a\n### Step 2\n- Step 3. b", 3),
        ("1. Step 1: a. 2. Step 2: b", 2),
        ("We add. Step 1: a. Step 2: b", 2),
        ("After Step 1 we go on", 0),
        ("1.5 apples\n2.50 dollars", 0),
        ("She pays $12. 15 are left", 0),
        ("in 1999. The end", 0),
        ("  1) indented", 1),
    ],
)
def test_numbered_steps(text: str, count: int):
    assert numbered_steps(text) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("3 + 4 = 7", 1),
        ("(3 + 4) = 7 = 7", 2),
        ("3 apples * 2 = 6 apples", 1),
        ("48 clips + 24 clips = 72 clips", 1),
        ("12 * $2.50 = $30", 1),
        ("50% = 0.5", 1),
        ("2 - 5 = -3", 1),
        ("x = 5", 0),
        ("5 = x", 0),
        ("<<48/2=24>>24", 1),
        ("1,000 = 1,000", 1),
        ("3 == 3", 0),
    ],
)
def test_equations(text: str, count: int):
    assert equations(text) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [("One. Two! Three?", 3), ("It costs 1.5 dollars.", 1), ("a\nb\n\nc", 3), ("1. a\n2. b", 2), ("...", 0)],
)
def test_sentences(text: str, count: int):
    assert sentences(text) == count


def test_words():
    assert words("Well - it's 3 + 4 , e.g.") == 5


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so 5 and 6.\n#### 1,234\nQ: 7", 1234.0),
        ("the total is $1,234.50.", 1234.5),
        ("5-3 leaves 2-3", 3.0),
        ("it is -3", -3.0),
        ("#### -3", -3.0),
        ("sums 1,2,3", 3.0),
        ("4 ####", 4.0),
        ("none", None),
        ("So the answer is .5", 0.5),
        ("#### $.75", 0.75),
        ("#### -$5", -5.0),
        ("it rose from 3 to $1,250.50.", 1250.5),
        ("version v.5 of 2", 2.0),
    ],
)
def test_final_number(text: str, number: float | None):
    assert final_number(text) == number


def test_the_interval_of_normal_values_is_that_of_theory():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400).tolist()
    mean, low, high = bootstrap_interval(values)
    error = np.std(values, ddof=1) / math.sqrt(400)
    assert mean == pytest.approx(np.mean(values))
    assert low == pytest.approx(mean - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.15 * error)
    assert bootstrap_interval(values) == (mean, low, high)
    narrow = bootstrap_interval(values, level=0.5)
    assert low < narrow[1] < mean < narrow[2] < high


def test_intervals_without_a_spread():
    assert bootstrap_interval([0.5] * 6) == (0.5, 0.5, 0.5)
    mean, low, high = bootstrap_interval([0.5])
    assert mean == 0.5
    assert math.isnan(low)
    assert math.isnan(high)


def test_intervals_of_rare_hits_are_finite():
    for values in ([0.0] * 19 + [1.0], [0.0, 1.0], [1.0] * 99 + [0.0]):
        mean, low, high = bootstrap_interval(values, resamples=200)
        assert 0.0 <= low <= mean <= high <= 1.0


def test_mean_and_spread():
    assert mean_and_spread([1.0, 2.0, 6.0]) == (3.0, pytest.approx(math.sqrt(7)))
    mean, spread = mean_and_spread([2.0])
    assert mean == 2.0
    assert math.isnan(spread)


@pytest.mark.parametrize(
    ("values", "level", "message"),
    [([], 0.95, "no values"), ([1.0, math.nan], 0.95, "NaN"), ([1.0, 2.0], 1.0, "between 0 and 1")],
)
def test_values_without_an_interval_are_refused(values: list[float], level: float, message: str):
    with pytest.raises(DataError, match=message):
        bootstrap_interval(values, level=level)
