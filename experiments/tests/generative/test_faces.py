"""Toy faces: attributes that are independent, ground truth that is exact, pictures that come out the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("PIL", reason="Pillow is not installed; it comes with the extra vision")

from mnemotomy.core.errors import DataError
from mnemotomy_bench.generative.faces.dataset import ATTRIBUTES, FACTORS, draw_faces, toy_faces
from mnemotomy_bench.generative.faces.drawing import SIDE, draw_face

MIDDLE = {name: (low + high) / 2 for name, (low, high) in FACTORS.items()}
BARE = dict.fromkeys(ATTRIBUTES, False)


@pytest.fixture(scope="module")
def faces():
    return toy_faces(16, seed=3)


def test_the_same_seed_gives_the_same_pixels(faces):
    again = toy_faces(16, seed=3)
    assert torch.equal(again.images, faces.images)
    assert torch.equal(again.attributes, faces.attributes)
    assert not torch.equal(toy_faces(16, seed=4).images, faces.images)
    assert (draw_face(BARE, MIDDLE) == draw_face(BARE, MIDDLE)).all()


def test_images_are_whole(faces):
    assert faces.images.shape == (16, 3, SIDE, SIDE)
    assert faces.images.dtype == torch.uint8
    assert len(faces) == 16
    assert faces.images.float().flatten(1).std(1).min() > 10  # nobody is blank
    assert len(faces.images.flatten(1).unique(dim=0)) == 16  # nor twice there


@pytest.fixture
def undrawn(monkeypatch):
    """Many faces at once, whose pictures do not matter."""
    monkeypatch.setattr(
        "mnemotomy_bench.generative.faces.dataset.draw_face", lambda *_: np.zeros((3, SIDE, SIDE), np.uint8)
    )


def test_attributes_are_exactly_independent(undrawn):
    faces = toy_faces(64, seed=3)
    combinations = (faces.attributes.long() * torch.tensor([1, 2, 4, 8])).sum(1)
    assert torch.bincount(combinations, minlength=16).tolist() == [4] * 16
    torch.testing.assert_close(torch.corrcoef(faces.attributes.T.float()), torch.eye(4), atol=1e-6, rtol=0)


def test_factors_are_uniform_and_independent_of_attributes(undrawn):
    faces = toy_faces(1024, seed=0)
    for name, (low, high) in FACTORS.items():
        values = faces.factors[name]
        assert values.min() >= low
        assert values.max() <= high
        assert values.mean().item() == pytest.approx((low + high) / 2, abs=0.04 * (high - low))
        assert values.std().item() == pytest.approx((high - low) / 12**0.5, rel=0.05)
    columns = torch.stack([*faces.factors.values(), *faces.attributes.T.float()])
    apart = torch.corrcoef(columns) - torch.eye(len(columns))
    assert apart.abs().max() < 0.13  # 4 standard errors of a correlation of 1024 values


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_ground_truth_is_exact(faces, name):
    has = faces.attribute(name)
    without = faces.with_attribute(name, False)
    assert torch.equal((without.images != faces.images).flatten(1).any(1), has)
    assert not without.attribute(name).any()
    others = [k for k, other in enumerate(ATTRIBUTES) if other != name]
    assert torch.equal(without.attributes[:, others], faces.attributes[:, others])
    assert all(torch.equal(without.factors[factor], faces.factors[factor]) for factor in FACTORS)
    back = without.with_attribute(name, True)
    assert torch.equal(back.images[has], faces.images[has])


@pytest.mark.parametrize(
    ("name", "top", "bottom"), [("glasses", 20, 45), ("goatee", 36, 60), ("hat", 0, 32), ("bangs", 4, 34)]
)
def test_an_attribute_changes_its_own_part_of_the_face(name, top, bottom):
    changed = (draw_face(BARE | {name: True}, MIDDLE) != draw_face(BARE, MIDDLE)).any(0)
    rows = changed.any(1).nonzero()[0]
    assert top <= rows.min()
    assert rows.max() <= bottom
    assert 0.01 < changed.mean() < 0.35


@pytest.mark.parametrize("factor", FACTORS)
def test_every_factor_shows(factor):
    low, high = FACTORS[factor]
    left, right = (draw_face(BARE, MIDDLE | {factor: value}) for value in (low, low + 0.6 * (high - low)))
    assert (left != right).mean() > 0.02


def test_what_cannot_be_drawn_is_refused(faces):
    with pytest.raises(DataError, match="must be positive, not 0"):
        toy_faces(0, seed=0)
    with pytest.raises(DataError, match="no attribute 'beard'; choose one of glasses"):
        faces.attribute("beard")
    with pytest.raises(DataError, match="no attribute 'beard'"):
        faces.with_attribute("beard", True)
    with pytest.raises(DataError, match="need the factor 'tilt'"):
        draw_faces(faces.attributes, {name: f for name, f in faces.factors.items() if name != "tilt"})
    with pytest.raises(DataError, match=r"attributes \[n, 4\]"):
        draw_faces(faces.attributes[:, :3], faces.factors)
    with pytest.raises(DataError, match="with the same n"):
        draw_faces(faces.attributes[:5], faces.factors)
