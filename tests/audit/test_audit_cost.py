"""How long an audit takes, before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from audited import FORGET, HOLDOUT, case
from torch import nn

from mnemotomy.audit import cost
from mnemotomy.audit.asking import Greedy, Paraphrased, Samples
from mnemotomy.audit.cost import AuditCost, cost_of_audit
from mnemotomy.audit.damage import Retained
from mnemotomy.audit.membership import Loss


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A model that takes a second, and a tenth of one for each question; the numbers of questions that it was asked."""
    asked, now = list[int](), [0.0]

    def answers(model: nn.Module, case: Any, probes: Sequence[Any]) -> list[str]:
        asked.append(len(probes))
        now[0] += 1.0 + 0.1 * len(probes)
        return [""] * len(probes)

    monkeypatch.setattr(cost, "greedy_answers", answers)
    monkeypatch.setattr(cost, "perf_counter", lambda: now[0])
    return asked


def test_the_time_is_that_of_the_questions_by_attack_set_and_model(clock: list[int]) -> None:
    found = cost_of_audit(nn.Module(), case(holdout=()), [Greedy(), Paraphrased(), Retained(), Loss()], 2)
    assert clock == [1, 4, 12]  # the first is not counted
    whole = 1.0 + 0.1 * len(FORGET)
    assert found.asking == pytest.approx(2 * whole * (1 + 2))
    assert found.seconds == pytest.approx(2 * whole * (1 + 2 + 1 + 1))
    both = cost_of_audit(nn.Module(), case(holdout=HOLDOUT), [Greedy(), Retained()], 3)
    assert both.seconds == pytest.approx(3 * whole * (2 + 1))  # the hold-out is asked, but nothing kept twice
    few = cost_of_audit(nn.Module(), case(forget=FORGET[:6], holdout=()), [Samples()], 1)
    assert clock[-2:] == [1, 6]
    assert few.seconds == pytest.approx(Samples.cost * 1.6)


@pytest.mark.parametrize(
    ("seconds", "asking", "told"),
    [
        (20.0, 5.0, "less than a minute"),
        (130.0, 45.0, "about 2 minutes; --only asking takes less than a minute"),
        (130.0, 130.0, "about 2 minutes"),
        (130.0, 0.0, "about 2 minutes"),
        (62.0, 59.0, "about 1 minute"),
        (60.0 * 22, 60.0 * 9, "about 20 minutes; --only asking takes about 9 minutes"),
        (3600.0 * 5, 3600.0, "about 300 minutes; --only asking takes about 60 minutes"),
    ],
)
def test_times_are_rounded(seconds: float, asking: float, told: str) -> None:
    assert str(AuditCost(seconds, asking)) == told
