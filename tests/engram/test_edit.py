"""Edits as values: a vector space, mappings, strengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from helpers import QUIET, mlp, randn, relative

import mnemotomy as mt
from mnemotomy.core.errors import DataError, FingerprintError, SelectionError

NAMES = tuple("abc")


def same(left: mt.Edit, right: mt.Edit) -> bool:
    return all(torch.allclose(left[site], right[site], atol=1e-6) for site in ("0", "2"))


def test_edits_are_a_vector_space(atlas: mt.Atlas):
    a, b, c = (1.0 * atlas[name] for name in NAMES)
    assert same(a + b, b + a)
    assert same((a + b) + c, a + (b + c))
    assert same(2 * (a + b), 2 * a + b * 2)
    assert same(a - b, a + (-b))
    assert same(3 * a - a, 2 * a)
    assert not (a - a)["0"].any()
    assert same(sum([a, b, c]), a + b + c)
    assert same(atlas["a"] + atlas["b"], a + b)
    assert same(atlas["a"] - atlas["b"], a - b)
    assert same(-atlas["a"], -1 * a)
    assert same(a + atlas["b"], a + b)
    assert same(a - atlas["b"], a - b)
    assert same(-0.6 * atlas["a"] + atlas["b"], b - 0.6 * a)
    assert same((a + 2 * b).materialize(), a + 2 * b)
    assert same(atlas["a"].materialize(), a)
    with pytest.raises(SelectionError, match="no site 'x'"):
        a["x"]


@pytest.mark.parametrize("make", [lambda a: a["a"], lambda a: 2 * a["a"] - a["b"], lambda a: a["a"].materialize()])
def test_engrams_and_edits_are_mappings(atlas: mt.Atlas, make: Callable[[mt.Atlas], mt.Edit | mt.Engram]):
    made = make(atlas)
    assert isinstance(made, Mapping)
    assert "0" in made
    assert "1" not in made
    assert 0 not in made
    assert list(made) == list(made.keys()) == ["0", "2"] == list(made.sites())
    assert len(made) == len(made.items()) == len(made.values()) == 2
    found = dict(made.items())
    assert all(torch.equal(found[site], value) for site, value in zip(made, made.values(), strict=True))
    assert all(torch.allclose(made[site], found[site]) for site in dict(made))
    assert torch.equal(made.get("0"), made["0"])
    assert made.get("1") is None
    with pytest.raises(KeyError, match=r"^no site '1' in this \w+; there are 0, 2"):
        made["1"]
    assert made == made
    assert made != make(atlas)
    assert made in {made}


def test_a_site_that_an_edit_leaves_alone_is_not_in_it(atlas: mt.Atlas):
    edit = mt.erase(atlas, "a", {"2": 0.25})
    assert list(edit) == ["2"]
    assert "0" not in edit
    assert not edit["0"].any()
    assert not mt.erase(atlas, "a", 0.0)


def test_only_the_sites_that_are_edited_are_computed(atlas: mt.Atlas, monkeypatch: pytest.MonkeyPatch):
    (first, *_), computed = atlas["a"].sites(), list[str]()
    factorise = mt.Atlas.spectrum
    monkeypatch.setattr(mt.Atlas, "spectrum", lambda self, site: computed.append(site) or factorise(self, site))
    found = dict(mt.erase(atlas, "a", {first: 2.0}).items())
    assert list(found) == [first]
    assert set(computed) == {first}
    assert relative(found[first], -2.0 * atlas["a"][first]) < 1e-6


def test_edits_of_different_models_cannot_be_added(atlas: mt.Atlas):
    other = mlp(5, 6, 3, seed=3)
    data = {name: [randn(6, 5)] for name in NAMES}
    with pytest.raises(FingerprintError, match="different models"):
        atlas["a"] + mt.Atlas(other, mt.collect(other, data, options=QUIET))["a"]


def test_erasing_and_injecting(atlas: mt.Atlas):
    assert same(mt.erase(atlas, "a", 0.5), -0.5 * atlas["a"])
    assert same(mt.inject(atlas, ["a", "b"]), atlas["a"] + atlas["b"])
    assert same(mt.erase(atlas, "a") + mt.inject(atlas, "a"), 0.0 * atlas["a"])


def test_strengths(atlas: mt.Atlas):
    engram = atlas["a"]
    ratios = engram.ratios()
    for site in ("0", "2"):
        weight = atlas.sites[site].weight()
        assert ratios[site] == pytest.approx(float(engram[site].norm() / weight.norm()))
    largest = max(ratios.values())
    by_norm = mt.erase(atlas, "a", "weight-norm")
    by_rank = mt.erase(atlas, "a", "effective-rank")
    for site in ratios:
        assert relative(by_norm[site], -ratios[site] / largest * engram[site]) < 1e-6
        assert relative(by_rank[site], -engram.effective_ranks()[site] * engram[site]) < 1e-6
        assert 0 < engram.effective_ranks()[site] <= 1.01
    assert same(mt.erase(atlas, "a", "uniform"), -1 * engram)
    one = mt.erase(atlas, "a", {"2": 0.25})
    assert one.sites() == ("2",)
    assert relative(one["2"], -0.25 * engram["2"]) < 1e-6
    assert same(mt.erase(atlas, "a", lambda e: dict.fromkeys(e.sites(), 0.5)), -0.5 * engram)
    with pytest.raises(DataError, match="unknown strength 'x'; give a number"):
        mt.erase(atlas, "a", "x")
    with pytest.raises(SelectionError, match="strength is given for 'y'"):
        mt.erase(atlas, "a", {"y": 1.0})
