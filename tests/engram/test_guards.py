"""Counts that tell of a ruined model before it is edited."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mnemotomy import Moments, SurgeryWarning, collect
from mnemotomy.engram.guards import row_concerns, warn_of_rows


def moments(own: int, reference: int) -> Moments:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 20), nn.Linear(20, 4))
    return collect(model, {"a": [torch.randn(own, 12)], "rest": [torch.randn(reference, 12)]})


def test_enough_rows_raise_no_concern() -> None:
    assert row_concerns(moments(10, 40), ["a"]) == []


def test_fewer_rows_than_directions() -> None:
    (concern,) = row_concerns(moments(3, 7), ["a"])
    assert "10 rows, but '1' and 1 other inputs up to 20 directions" in concern
    assert "at least 40 rows" in concern


def test_a_concept_that_is_most_of_all_rows() -> None:
    (concern,) = row_concerns(moments(90, 10), ["a"])
    assert concern.startswith("90 % of the rows at ")
    with pytest.warns(SurgeryWarning, match="90 %"):
        warn_of_rows(moments(90, 10), ["a"])
