"""Intervals of means, traces and changes."""

from __future__ import annotations

import pytest
from scipy.stats import beta

from mnemotomy.audit.base import Reading
from mnemotomy.audit.statistics import compare, interval


@pytest.mark.parametrize(("yes", "of"), [(0, 20), (3, 20), (20, 20), (1, 5)])
def test_an_interval_of_yes_and_no_is_that_of_jeffreys(yes: int, of: int):
    found = interval([1.0] * yes + [0.0] * (of - yes))
    low, high = beta.ppf([0.025, 0.975], yes + 0.5, of - yes + 0.5)
    assert found.value == yes / of
    assert found.low == pytest.approx(min(low, yes / of), abs=0.015)
    assert found.high == pytest.approx(max(high, yes / of), abs=0.015)


def test_unbounded_numbers_get_no_pseudo_answers():
    assert interval([5.0] * 10, bounded=False) == pytest.approx((5.0, 5.0, 5.0))
    spread = interval([0.0, 10.0] * 50, bounded=False)
    assert spread.low == pytest.approx(4.0, abs=0.2)
    assert spread.high == pytest.approx(6.0, abs=0.2)


def readings(before: float, after: float, floor: float = 0.0, n: int = 40) -> dict:
    def said(share: float) -> tuple[float, ...]:
        return tuple(float(place < share * n) for place in range(n))

    return {"before": Reading(said(before), floor=said(floor)), "after": Reading(said(after), floor=said(floor))}


def test_the_trace_is_the_share_of_what_was_known():
    found = compare(readings(0.9, 0.5, 0.1))
    assert found.trace is not None
    assert found.trace.value == pytest.approx(0.5)
    assert 0.25 < found.trace.low < 0.5 < found.trace.high < 0.8
    assert found.change.value == pytest.approx(-0.4)
    assert found.change.high < -0.2


def test_the_untouched_model_keeps_everything_and_the_silent_one_nothing():
    same = compare(readings(1.0, 1.0)).trace
    assert same is not None
    assert same.low > 0.9
    gone = compare(readings(1.0, 0.0)).trace
    assert gone is not None
    assert gone.value == 0.0
    assert 0.03 < gone.high < 0.12


def test_nothing_is_left_of_what_was_never_known():
    assert compare(readings(0.0, 0.0)).trace is None
    assert compare(readings(0.1, 0.0, 0.1)).trace is None


def test_each_model_is_judged_by_its_own_floor():
    guessing = readings(1.0, 0.3, 0.3) | {"before": Reading((1.0,) * 40, floor=(0.0,) * 40)}
    found = compare(guessing).trace
    assert found is not None
    assert found.value == pytest.approx(0.0)
    refusing = {"before": Reading((1.0,) * 40, floor=(0.5,) * 20), "after": Reading((0.5,) * 40, floor=(0.0,) * 20)}
    found = compare(refusing).trace
    assert found is not None
    assert found.value == pytest.approx(1.0)


def test_the_gold_model_is_the_floor_where_there_is_one():
    found = compare(readings(1.0, 0.5, 0.0) | {"gold": Reading((1.0,) * 20 + (0.0,) * 20)})
    assert found.trace is not None
    assert found.trace.value == pytest.approx(0.0)
    assert found.means["gold"].value == 0.5
