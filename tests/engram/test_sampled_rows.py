"""Some receptive fields of each image instead of all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import QUIET, identical, mlp, randn, relative, total
from torch import nn

import mnemotomy as mt
from mnemotomy.core.errors import ArtifactError, DataError, MergeError
from mnemotomy.engram.sites.layout import LastDimension, OneHot, Patches

LAYOUTS = {
    "usual": Patches((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    "one dimension": Patches((5,), (2,), (1,), (2, 2)),
    "groups": Patches((3, 3), (1, 1), (1, 1), (0, 0, 1, 1), groups=2),
    "spread": Patches((3, 3), (1, 2), (1, 1), (0, 0, 0, 0), upsample=(2, 1)),
    "reflected": Patches((1, 3), (1, 1), (1, 1), (1, 1, 0, 0), mode="reflect"),
}


def images(count: int, seed: int = 0) -> torch.Tensor:
    return randn(count, 4, 6, 7, seed=seed)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 6 * 7, 3)).eval()


def few(count: int | None, **more: object) -> mt.CollectOptions:
    return replace(QUIET, rows=count, **more)


@pytest.mark.parametrize("name", LAYOUTS)
def test_rows_are_drawn_from_each_image_without_repetition(name: str):
    layout = LAYOUTS[name]
    x = randn(5, 4, 9) if name == "one dimension" else images(5)
    every, drawn = layout.rows(x), layout.sampled_rows(x, 3, torch.Generator().manual_seed(0))
    assert drawn is not None
    assert drawn.shape == (5, 3, *every.shape[2:])
    places = [
        [next(i for i, row in enumerate(mine) if torch.equal(row, one)) for one in chosen]
        for mine, chosen in zip(every, drawn, strict=True)
    ]
    assert all(len(set(chosen)) == 3 for chosen in places)
    assert len(set(map(tuple, places))) > 1
    assert layout.sampled_rows(x, every.shape[1], torch.Generator()) is None


def test_layouts_of_one_row_have_nothing_to_draw_from():
    assert LastDimension().sampled_rows(randn(2, 3), 1, torch.Generator()) is None
    assert OneHot(4).sampled_rows(torch.tensor([1, 2]), 1, torch.Generator()) is None


def test_sums_of_some_rows_come_near_those_of_all():
    data = {"a": [images(400)], "b": [images(300, seed=1)]}
    whole, some = (mt.collect(network(), data, sites="all", options=few(count)) for count in (None, 10))
    assert some.count("0", "a") == 4000
    assert some.count("3", "a") == whole.count("3", "a") == 400
    assert relative(total(some, "0", "a") / 4000, total(whole, "0", "a") / (400 * 42)) < 0.1
    assert torch.equal(total(some, "3", "b"), total(whole, "3", "b"))
    assert some.origin.rows == 10
    every = mt.collect(network(), data, sites="all", options=few(42))
    assert torch.equal(total(every, "0", "a"), total(whole, "0", "a"))


def test_the_same_rows_are_drawn_again_and_after_an_interruption(tmp_path: Path):
    def stream(stop: bool):
        for i in range(4):
            if stop and i == 2:
                raise KeyboardInterrupt
            yield images(8, seed=i), ["a", "b"] * 4

    def collected(stop: bool, options: mt.CollectOptions) -> mt.Moments:
        return mt.collect(network(), stream(stop), concepts=lambda batch: batch[1], sites="all", options=options)

    whole, saved = collected(False, few(5)), tmp_path / "c.safetensors"
    assert identical(collected(False, few(5)), whole)
    with pytest.raises(KeyboardInterrupt):
        collected(True, few(5, checkpoint=saved, checkpoint_seconds=0.0))
    with pytest.raises(ArtifactError, match="not a checkpoint of this collection"):
        collected(False, few(6, checkpoint=saved))
    assert identical(collected(False, few(5, checkpoint=saved)), whole)
    whole.save(saved)
    assert mt.Moments.load(saved).origin.rows == 5


def test_bad_numbers_of_rows_and_sums_that_do_not_fit():
    with pytest.raises(DataError, match="at least one row"):
        mt.CollectOptions(rows=0)
    data = {"a": [randn(3, 4)], "b": [randn(3, 4, seed=1)]}
    left, right = (mt.collect(mlp(4, 2), data, options=few(count)) for count in (3, None))
    with pytest.raises(MergeError, match="rows=3 and rows=None"):
        left + right
