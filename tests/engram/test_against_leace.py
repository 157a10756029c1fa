"""The projector on shared directions against EleutherAI's LEACE (Belrose et al. 2023), where both are one map."""

from __future__ import annotations

import pytest
import torch
from concept_erasure import LeaceEraser
from helpers import randn
from torch import nn

import mnemotomy as mt

WIDTH, OUT, PLUS = 6, 4, 15


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_projector_of_a_concept_without_spread_is_leace(seed: int):
    """Where X⁺ is one vector and all rows have mean 0, μ is above 0 in one direction, and what has μ > 0 is what is
    correlated with the concept: ``I − P`` is LEACE's oblique projection, whitening included."""
    one = randn(WIDTH, seed=seed).double()
    others = randn(40, WIDTH, seed=seed + 10).double() @ randn(WIDTH, WIDTH, seed=seed + 20).double()
    others -= others.mean(0) + PLUS / len(others) * one
    rows, concept = torch.cat([one.expand(PLUS, WIDTH), others]), torch.tensor([1.0] * PLUS + [0.0] * len(others))
    assert float(rows.mean(0).abs().max()) < 1e-12
    leace = LeaceEraser.fit(rows, concept.double(), shrinkage=False, constrain_cov_trace=False, svd_tol=1e-9)
    layer = nn.Linear(WIDTH, OUT, bias=False)
    options = mt.CollectOptions(progress=False, dtype=torch.float64)
    moments = mt.collect(layer, {"a": [rows[:PLUS].float()], "rest": [rows[PLUS:].float()]}, options=options)
    atlas = mt.Atlas(layer, moments, precision=torch.float64)
    share = atlas.mu("", "a")
    assert share[:-1].abs().max() < 1e-5
    assert share[-1] > 0.1
    edited = mt.erase(atlas, "a", filter=mt.Hard(0.05)).apply(layer)
    new = randn(8, WIDTH, seed=seed + 30)
    with torch.no_grad():
        torch.testing.assert_close(edited(new), layer(leace(new.double()).float()), atol=1e-5, rtol=1e-4)
        assert float((edited(new) - layer(new)).abs().max()) > 0.1
        assert float(edited(one[None].float()).abs().max()) < 1e-5
