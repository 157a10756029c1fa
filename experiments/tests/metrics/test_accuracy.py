"""Accuracy by class."""

from __future__ import annotations

import math

import pytest
import torch

from mnemotomy.core.errors import DataError
from mnemotomy_bench.metrics.accuracy import class_accuracies


def test_class_accuracies_against_a_count_by_hand():
    found = class_accuracies(torch.tensor([0, 1, 1, 2, 0]), torch.tensor([0, 0, 1, 2, 0]), 4)
    assert found[:3].tolist() == pytest.approx([2 / 3, 1.0, 1.0])
    assert math.isnan(found[3])


def test_a_prediction_beyond_the_classes_is_wrong():
    found = class_accuracies(torch.tensor([0, 7, -1]), torch.tensor([0, 0, 1]), 2)
    assert found.tolist() == [0.5, 0.0]


@pytest.mark.parametrize("label", [2, -1])
def test_labels_beyond_the_classes_are_refused(label):
    with pytest.raises(DataError, match=f"label {label} is not in 0 … 1"):
        class_accuracies(torch.tensor([0, label]), torch.tensor([0, label]), 2)
    with pytest.raises(DataError, match="2 predictions came with 1 labels"):
        class_accuracies(torch.tensor([0, 1]), torch.tensor([0]), 2)
