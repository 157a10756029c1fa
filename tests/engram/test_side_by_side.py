"""Engrams of several inputs at once: the same numbers, and nothing left changed."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from helpers import QUIET, mlp, randn, relative
from torch import nn

import mnemotomy as mt
from mnemotomy.core.errors import FingerprintError
from mnemotomy.engram.side_by_side import Size, batches, side_by_side

SMALL = Size(300, 10)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def atlas() -> mt.Atlas:
    """Four inputs of 260 columns, of which the cut leaves out some."""
    model = mlp(260, 260, 260, 260, 30)
    scale = torch.logspace(0, -4, 260)
    data = {name: [randn(400, 260, seed=seed) * scale] for seed, name in enumerate("ab")}
    moments = mt.collect(model, data, options=QUIET)
    return mt.Atlas(model, moments, cut=mt.RelativeCut(1e-5), keep=1)


def test_all_sites_together_are_each_site_alone(atlas: mt.Atlas):
    found = dict(atlas["a"].items())
    assert list(found) == ["0", "2", "4", "6"]
    assert atlas.spectrum("0").rank < 260
    for site, engram in found.items():
        assert not engram.requires_grad
        assert relative(engram, atlas["a"][site]) < 1e-6


def test_each_thread_computes_alone_and_the_callers_threads_stay():
    def threads(item: int) -> tuple[int, int, bool]:
        both.wait(timeout=30)
        return item, torch.get_num_threads(), torch.is_grad_enabled()

    both = threading.Barrier(2)
    with torch.no_grad():
        assert side_by_side(threads, [(0, SMALL), (1, Size(400, 10))]) == [(0, 1, False), (1, 1, False)]
    assert torch.get_num_threads() == 2
    assert side_by_side(lambda _: torch.get_num_threads(), [(0, SMALL)]) == [2]


def test_an_error_of_one_input_reaches_the_caller(atlas: mt.Atlas):
    spoiled = atlas.sites["4"].module
    assert isinstance(spoiled, nn.Linear)
    with torch.no_grad():
        before = spoiled.weight.clone()
        spoiled.weight[0, 0] += 1
    try:
        with pytest.raises(FingerprintError, match="'4' has changed"):
            list(atlas["a"].items())
    finally:
        with torch.no_grad():
            spoiled.weight.copy_(before)
    assert torch.get_num_threads() == 2


def test_work_is_done_together_where_it_is_narrow_and_its_results_fit():
    def together(*sizes: Size) -> list[list[int]]:
        return [[item for item, _ in batch] for batch in batches(enumerate(sizes))]

    wide, tiny, large = Size(4096, 10), Size(16, 10), Size(300, 40 * 2**20)
    assert together(*[SMALL] * 10) == [[*range(8)], [8, 9]]
    assert together(SMALL, wide, SMALL, SMALL, tiny) == [[0], [1], [2, 3], [4]]
    assert together(large, large, SMALL) == [[0], [1, 2]]
    assert together(SMALL, Size(300, 10, alone=True), SMALL) == [[0], [1], [2]]
    assert together() == []
