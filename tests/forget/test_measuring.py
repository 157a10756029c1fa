"""What is left of a forget set, from probabilities and from whole answers."""

from __future__ import annotations

import pytest
import torch

from mnemotomy.forget.found import _concerns
from mnemotomy.forget.measuring import _Floor, _Read, _Wording, left_by
from mnemotomy.forget.scores import BEYOND, TEXTS, Scores
from mnemotomy.forget.search import Tried
from mnemotomy.text.encoding import Encoded

BEFORE = Scores(1.0, 0.6, 0.6, 0.9, 0.0)
FLOOR = _Floor(0.0, 0.0)


def read(questions: int, probability: float, said: int) -> _Read:
    return _Read(torch.full((questions,), probability, dtype=torch.float64), said / questions, 0.0, [])


def wording(questions: int, probability: float, said: int) -> _Wording:
    return _Wording([Encoded([1], [1])] * questions, read(questions, probability, said))


@pytest.mark.parametrize(
    ("questions", "before", "now", "expected"),
    [
        (48, [(0.4, 30)], [(0.01, 15)], 0.5),
        (48, [(0.4, 2)], [(0.01, 2)], 0.025),  # two of two answers are chance, where the probability is gone
        (48, [(0.4, 6), (0.3, 6)], [(0.01, 3), (0.01, 3)], 0.5),  # of twelve in all, six
        (4, [(0.9, 4)], [(0.01, 1)], 0.25),  # a fact in four wordings of its own
        (4, [(0.9, 2)], [(0.09, 2)], 0.1),
    ],
)
def test_whole_answers_count_where_enough_were_known(questions, before, now, expected):
    wordings = [wording(questions, *one) for one in before]
    found = left_by(wordings, [read(questions, *one) for one in now], FLOOR)
    assert found == pytest.approx((expected, expected))


def test_overshooting_counts_as_much_as_what_is_left_and_is_told_by_its_own_name():
    wordings, floor = [wording(20, 0.64, 10)], _Floor(0.067, 0.0)
    left, rest = left_by(wordings, [read(20, 0.006, 0)], floor)
    assert (left, rest) == pytest.approx((0.061 / 0.573, 0.0))
    found = Scores(left, 0.006, 0.6, 0.9, 0.02, rest)
    assert found.told() == f"0.0 % (10.6 % {BEYOND})"
    assert found.said() == f"0.0 % left, 10.6 % {BEYOND}"
    assert found.row()["left"] == left == pytest.approx(1.0 - found.forgotten())
    assert Scores(0.3, 0.2, 0.6, 0.9, 0.02, 0.3).told() == Scores(0.3, 0.2, 0.6, 0.9, 0.02).told() == "30.0 %"
    assert _concerns(Tried(0, None, Scores(0.3, 0.0, 0.6, 0.9, 0.02, 0.01)), BEFORE, TEXTS) == [
        "the forgotten answers are less likely now than answers to other questions, by 30 % of what was known, and an "
        "attacker can read that: this is too much forgetting; try more trials"
    ]
