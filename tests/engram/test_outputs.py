"""The output side of an engram: ``W⁺ = P_out W P`` against the outputs themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers import QUIET, mlp, randn, relative
from torch import nn

import mnemotomy as mt
from mnemotomy.core.errors import ConceptError
from mnemotomy.engram import operators

ROWS = {name: randn(n, 5, seed=n) @ randn(5, 5, seed=40 + n) for name, n in zip("abc", (30, 40, 50), strict=True)}


def atlas_of(model: nn.Module, data: dict[str, torch.Tensor] = ROWS, **arguments: object) -> mt.Atlas:
    moments = mt.collect(model, {name: [x] for name, x in data.items()}, sites="all", options=QUIET)
    return mt.Atlas(model, moments, **arguments)


def outputs(layer: nn.Linear, base: nn.Linear | None, name: str) -> torch.Tensor:
    found = layer(ROWS[name]) - (0 if base is None else base(ROWS[name]))
    return found.detach().double()


@pytest.mark.parametrize("with_base", [False, True])
def test_it_is_the_map_of_least_error_on_the_outputs(with_base: bool):
    """``min_A ‖A Z⁺ − Z⁺‖² + ‖A Z⁻‖²``, by least squares on the outputs; with a base, on their difference."""
    model, base = mlp(5, 6, 3), mlp(5, 6, 3, seed=5)
    atlas = atlas_of(model, base=base if with_base else None)
    z = {name: outputs(model[0], base[0] if with_base else None, name) for name in ROWS}
    everything = torch.cat(list(z.values()))
    for concepts in ("a", ("a", "c")):
        wanted = torch.cat([x if name in concepts else torch.zeros_like(x) for name, x in z.items()])
        expected = torch.linalg.lstsq(everything, wanted, driver="gelsd", rcond=1e-3).solution.mT
        operator = atlas.output_operator("0", concepts).double()
        assert relative(everything @ operator.mT, everything @ expected.mT) < 1e-4
        engram = atlas.engram(concepts, mt.Power(2), outputs=True)
        assert relative(engram["0"], operator.float() @ atlas.engram(concepts, mt.Power(2))["0"]) < 1e-5
        assert relative(mt.erase(atlas, concepts, 0.7, mt.Power(2), outputs=True)["0"], -0.7 * engram["0"]) < 1e-6
        assert relative(mt.inject(atlas, concepts, 0.7, mt.Power(2), outputs=True)["0"], 0.7 * engram["0"]) < 1e-6


def test_a_weight_of_full_row_rank_has_the_same_shares_on_either_side():
    """Where as many outputs as inputs are written, ``P_out W = W P``."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 5, bias=False))
    atlas = atlas_of(model)
    weight = model[0].weight.detach().double()
    operator = atlas.output_operator("0", "b").double()
    assert relative(operator @ weight, weight @ atlas.operator("0", "b").double()) < 1e-4
    assert relative(atlas.engram("b", outputs=True)["0"], atlas.engram("b", mt.Power(2))["0"]) < 1e-4


def test_many_outputs_are_weighed_in_the_directions_that_are_written():
    """Whole and thin forms agree where outputs outnumber inputs, a weight of deficient rank among them."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 30))
    model[0].weight.data[:, 4] = model[0].weight.data[:, 3]
    atlas = atlas_of(model)
    z = {name: outputs(model[0], None, name) for name in ROWS}
    gram = {name: x.mT @ x for name, x in z.items()}
    expected = gram["a"] @ torch.linalg.pinv(sum(gram.values()), rtol=1e-6, hermitian=True)
    operator = atlas.output_operator("0", "a")
    assert relative(operator, expected) < 1e-4
    assert relative(atlas.engram("a", outputs=True)["0"], operator @ atlas["a"]["0"].double()) < 1e-4


def test_outputs_that_the_concept_does_not_write_are_spared():
    """Two outputs, each of which one of two concepts alone writes: the other's row stays, whatever the inputs share."""
    model = nn.Sequential(nn.Linear(3, 2, bias=False))
    model[0].weight.data = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    shared = torch.ones(20, 1)
    data = {
        "a": torch.cat([randn(20, 1, seed=1), torch.zeros(20, 1), shared], 1),
        "b": torch.cat([torch.zeros(20, 1), randn(20, 1, seed=2), shared], 1),
    }
    engram = atlas_of(model, data).engram("a", outputs=True)["0"]
    torch.testing.assert_close(engram[1], torch.zeros(3), atol=1e-6, rtol=0)
    assert float(engram[0].norm()) > 0.9


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), {n: randn(8, 4, 5, 5, seed=i) for i, n in enumerate("ab")}),
        (lambda: nn.Conv2d(2, 3, 3, padding=1), {n: randn(8, 2, 5, 5, seed=i) * (1 + i) for i, n in enumerate("ab")}),
        (lambda: nn.Embedding(9, 4), {n: torch.arange(40).reshape(4, 10) % (4 + 5 * i) for i, n in enumerate("ab")}),
    ],
)
def test_every_kind_of_site_against_its_outputs(make: Callable[[], nn.Module], data: dict[str, torch.Tensor]):
    torch.manual_seed(0)
    layer = make()
    model = nn.Sequential(layer)
    atlas = atlas_of(model, data)
    groups = getattr(layer, "groups", 1)
    with torch.no_grad():
        found = {name: layer(x) for name, x in data.items()}
    rows = {
        name: (z.movedim(1, -1) if z.dim() == 4 else z).reshape(-1, groups, layer.weight.shape[0] // groups
        if z.dim() == 4 else z.shape[-1]).double()
        for name, z in found.items()
    }  # fmt: skip
    gram = {name: torch.einsum("ngi,ngj->gij", z, z) for name, z in rows.items()}
    expected = gram["a"] @ torch.linalg.pinv(gram["a"] + gram["b"], rtol=1e-6, hermitian=True)
    assert relative(atlas.output_operator("0", "a").reshape(expected.shape), expected) < 1e-3
    plain, both = atlas.engram("a")["0"], atlas.engram("a", outputs=True)["0"]
    blocks = (expected.float() @ plain.reshape(groups, -1, plain.shape[-1])).reshape(plain.shape)
    assert relative(both, blocks) < 1e-3


def test_what_is_described_saved_and_kept(tmp_path):
    model = mlp(5, 6, 3)
    atlas = atlas_of(model, keep=1)
    edit = mt.erase(atlas, "a", outputs=True)
    assert edit.describe()["outputs"] is True
    assert atlas["a"].describe()["outputs"] is False
    edit.save(tmp_path / "edit.safetensors")
    loaded = mt.Edit.load(tmp_path / "edit.safetensors")
    assert loaded.describe()["outputs"] is True
    for site in atlas.sites:
        torch.testing.assert_close(loaded[site], edit[site])
    with pytest.raises(ConceptError, match="no concept 'z'"):
        atlas.output_operator("0", "z")


def test_so_many_factorisations_of_outputs_are_kept_as_are_asked_for(monkeypatch: pytest.MonkeyPatch):
    made, factorise = [], operators.factorise
    monkeypatch.setattr(operators, "factorise", lambda total, *how: (made.append(total), factorise(total, *how))[1])
    atlas = atlas_of(mlp(5, 6, 3), keep=1)
    for site in ("0", "0", "2", "0"):
        atlas.output_operator(site, "a")
    assert len(made) == 3
