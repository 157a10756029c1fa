"""Counts that tell of a ruined model before it is edited."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

from mnemotomy import Atlas, Edit, Moments, SurgeryWarning, collect, erase, inject
from mnemotomy.engram.guards import row_concerns, warn_of_rows


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 20), nn.Linear(20, 4))


def moments(own: int, reference: int) -> Moments:
    return collect(network(), {"a": [torch.randn(own, 12)], "rest": [torch.randn(reference, 12)]})


def test_enough_rows_raise_no_concern() -> None:
    assert row_concerns(moments(10, 40), ["a"]) == []


def test_fewer_rows_than_directions() -> None:
    (concern,) = row_concerns(moments(3, 7), ["a"])
    assert "10 rows, but '1' and 1 other input have up to 20 directions" in concern
    assert "at least 40 rows" in concern


def test_a_concept_that_is_most_of_all_rows() -> None:
    (concern,) = row_concerns(moments(90, 10), ["a"])
    assert concern.startswith("90 % of the rows at ")
    with pytest.warns(SurgeryWarning, match="90 %"):
        warn_of_rows(moments(90, 10), ["a"])


@pytest.mark.parametrize(
    "edit", [lambda atlas: erase(atlas, "a"), lambda atlas: inject(atlas, "a"), lambda atlas: -atlas["a"]]
)
def test_an_edit_of_few_rows_warns_and_looking_does_not(edit: Callable[[Atlas], Edit]) -> None:
    model = network()
    few = Atlas(model, moments(3, 7))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few.trace()
        edit(Atlas(model, moments(10, 40)))
    with pytest.warns(SurgeryWarning, match="10 rows"):
        edit(few)
