"""Attributes read before and after, identity factors, and the rank correlation of a slider, by hand."""

from __future__ import annotations

import pytest
import torch

from mnemotomy.core.errors import DataError
from mnemotomy_bench.metrics.attributes import reading_change, slider
from mnemotomy_bench.metrics.identity import determination, factor_change, pixel_errors
from mnemotomy_bench.metrics.rank_correlation import spearman


def test_a_slider_by_hand():
    readings = torch.tensor([[3.0, 1.0, 2.0], [2.0, 1.0, 2.5], [0.0, -1.0, 0.0]])
    found = slider(readings, (-1.0, 0.0, 1.0))
    assert found.means == pytest.approx([2.0, 5.5 / 3, -1 / 3])
    assert found.rank_correlation == pytest.approx(-1.0)
    assert found.monotone == pytest.approx(2 / 3)  # the third rises once
    assert found.falling == pytest.approx(5 / 6)
    with pytest.raises(DataError, match="ascending"):
        slider(readings, (0.0, 0.0, 1.0))
    with pytest.raises(DataError, match="2 strengths came with"):
        slider(readings, (0.0, 1.0))


def test_ranks_are_correlated_with_ties_by_hand():
    pytest.importorskip("scipy.stats", reason="scipy is not installed; it comes with the extra demo")
    # ranks 1, 2.5, 2.5, 5, 4 and 4, 1, 2.5, 2.5, 5
    assert spearman([1.0, 2.0, 2.0, 5.0, 4.0], [3.0, 1.0, 2.0, 2.0, 9.0]) == pytest.approx(0.25 / 9.5)
    assert slider(torch.ones(3, 2), (0.0, 1.0, 2.0)).rank_correlation == 0.0


def test_changes_of_readings_and_factors():
    before, after = torch.tensor([[0.1, 0.9], [0.5, 0.95]]), torch.tensor([[0.2, 0.9], [0.3, 0.05]])
    torch.testing.assert_close(reading_change(before, after), torch.tensor([0.15, 0.45]))
    torch.testing.assert_close(factor_change(before, after), torch.tensor([0.15, 0.45]))
    hue = torch.tensor([False, True])
    torch.testing.assert_close(factor_change(before, after, hue), torch.tensor([0.15, 0.05]))
    with pytest.raises(DataError, match="cannot be compared"):
        reading_change(before, after[:1])
    with pytest.raises(DataError, match="cannot be compared"):
        factor_change(before[:0], after[:0])


def test_determination_by_hand():
    true = torch.tensor([[0.0, 0.02], [1.0, 0.5]])
    read = torch.tensor([[0.5, 0.98], [1.0, 0.5]])
    found = determination(read, true, torch.tensor([False, True]))
    assert found.tolist() == pytest.approx([0.5, 1 - 12 * 0.04**2 / 2], rel=1e-4)
    with pytest.raises(DataError, match="the same in every image"):
        determination(read, torch.zeros(2, 2))


def test_pixel_errors_by_hand():
    truth = torch.zeros(1, 3, 2, 2)
    edited = truth.clone()
    edited[0, :, 0, 0] = 0.5
    edited[0, 0, 1, 1] = 0.3
    inside = torch.zeros(1, 2, 2, dtype=torch.bool)
    inside[0, 0] = True
    assert pixel_errors(edited, truth, inside) == pytest.approx((0.125, 0.015))
    with pytest.raises(DataError, match="no inside and outside"):
        pixel_errors(edited, truth, ~inside | inside)
    with pytest.raises(DataError, match="came with"):
        pixel_errors(edited, truth[:, :1], inside)
