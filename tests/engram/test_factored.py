"""Low-rank factors give the engrams of the atlas, for every filter and with outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mnemotomy import Atlas, Excess, Hard, Power, Ridge, Soft, collect
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.engram.factored import FactoredConcept
from mnemotomy.engram.filters import Steep
from mnemotomy.engram.strength import weight_norm


def atlas(rows: int) -> Atlas:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 6))
    shared = torch.randn(12, 12)
    moments = collect(model, {"a": [torch.randn(rows, 12) @ shared * 2], "b": [torch.randn(60, 12)]})
    return Atlas(model, moments)


@pytest.mark.parametrize("rows", [3, 40])
@pytest.mark.parametrize("outputs", [False, True])
@pytest.mark.parametrize("filter", [Soft(), Hard(0.5), Power(3.0), Excess(), Steep(2.0)])
def test_factored_engrams_equal_the_atlas(rows: int, outputs: bool, filter: object) -> None:
    one = atlas(rows)
    found = FactoredConcept(one, "a").filtered(filter, outputs=outputs)  # type: ignore[arg-type]
    expected = one.engram("a", filter, outputs=outputs)  # type: ignore[arg-type]
    assert set(found) == set(expected)
    for site, delta in expected.items():
        torch.testing.assert_close(found[site], delta, rtol=1e-4, atol=1e-4 * float(delta.abs().max()))
    assert found.describe() == expected.describe()


def test_only_the_sites_of_an_edit_are_decomposed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    decompose = FactoredConcept._decompose
    monkeypatch.setattr(
        FactoredConcept, "_decompose", lambda self, a, readers: (made.extend(readers), decompose(self, a, readers))[1]
    )
    concept = FactoredConcept(atlas(3), "a")
    assert made == []
    edit = concept.filtered().times({"2": -1.0})
    assert list(edit) == ["2"]
    edit["2"], concept.filtered(Hard(0.5))["2"]
    assert made == ["2"]
    concept.decompose(concept.names)
    assert sorted(made) == ["0", "2"]


def test_few_rows_give_few_directions() -> None:
    found = FactoredConcept(atlas(3), "a").filtered()
    assert found.thin("0")[0].shape == (16, 4) or found.thin("0")[0].shape == (16, 3)  # a bias adds no direction


def test_weight_norms_are_the_rule() -> None:
    one = atlas(5)
    found = FactoredConcept(one, "a").filtered().weight_norms()
    assert found == pytest.approx(weight_norm(one.engram("a")), rel=1e-4)


def test_a_ridge_has_no_factors() -> None:
    with pytest.raises(ConfigurationError, match="not a function of μ"):
        FactoredConcept(atlas(3), "a").filtered(Ridge(1.0))
