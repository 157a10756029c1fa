"""Entropy and evidence by hand."""

from __future__ import annotations

import math

import pytest
import torch

from mnemotomy.core.errors import DataError
from mnemotomy_bench.metrics.attention import attention_entropy, evidence_weight

WEIGHTS = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.25, 0.25]])


def test_entropy_by_hand():
    expected = torch.tensor([math.log(4), 0.0, 0.5 * math.log(2) + 0.5 * math.log(4)])
    torch.testing.assert_close(attention_entropy(WEIGHTS), expected)


def test_entropy_of_random_heads_against_torch():
    weights = torch.rand(5, 7).softmax(-1)
    torch.testing.assert_close(attention_entropy(weights), torch.distributions.Categorical(weights).entropy())


def test_evidence_by_hand():
    torch.testing.assert_close(evidence_weight(WEIGHTS, [1, 3]), torch.tensor([0.5, 1.0, 0.25]))
    torch.testing.assert_close(evidence_weight(WEIGHTS, range(4)), torch.ones(3))


@pytest.mark.parametrize(
    ("positions", "message"), [([], "each token"), ([1, 1], "once"), ([4], "4 tokens"), ([-1], "-1")]
)
def test_positions_outside_are_refused(positions: list[int], message: str):
    with pytest.raises(DataError, match=message):
        evidence_weight(WEIGHTS, positions)
