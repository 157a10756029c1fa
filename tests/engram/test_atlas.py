"""The atlas: Eq. 3, 4, 6 and 7, what it refuses, its table, and the four criteria."""

from __future__ import annotations

import copy
import gc
from itertools import combinations
from typing import Any

import pytest
import torch
from helpers import QUIET, gram, mlp, randn, relative, text_batch, tiny_llama
from torch import Tensor, nn

import mnemotomy as mt
from mnemotomy.core.errors import ConceptError, FingerprintError, NonFiniteError, SelectionError
from mnemotomy.engram.spectrum import effective_rank

CONCEPTS = {
    name: randn(n, 5, seed=n) @ randn(5, 5, seed=40 + n) for name, n in zip("abcd", (7, 9, 12, 20), strict=True)
}


def network() -> nn.Sequential:
    return mlp(5, 6, 3)


def atlas_of(model: nn.Module, **arguments: Any) -> mt.Atlas:
    moments = mt.collect(model, {name: [x] for name, x in CONCEPTS.items()}, options=QUIET)
    return mt.Atlas(model, moments, **arguments)


def inputs(model: nn.Sequential, name: str) -> dict[str, Tensor]:
    """The rows of both layers, extended by 1."""
    x = CONCEPTS[name]
    with torch.no_grad():
        inner = model[:2](x)
    return {"0": torch.cat([x, torch.ones(len(x), 1)], 1), "2": torch.cat([inner, torch.ones(len(x), 1)], 1)}


def extended(layer: nn.Linear) -> Tensor:
    return torch.cat([layer.weight, layer.bias[:, None]], 1).detach().double()


def closed_form(weight: Tensor, plus: Tensor, everything: list[Tensor]) -> Tensor:
    total = torch.stack([gram(x) for x in everything]).sum(0)
    return weight @ gram(plus) @ torch.linalg.pinv(total, rtol=1e-6, hermitian=True)


@pytest.mark.parametrize("with_base", [False, True])
def test_engrams_are_the_closed_form(with_base: bool):
    """Eq. 4 and 6; with a base, Eq. 3."""
    model, base = network(), mlp(5, 6, 3, seed=5)
    atlas = atlas_of(model, base=base if with_base else None)
    for name in CONCEPTS:
        for site, layer in (("0", 0), ("2", 2)):
            weight = extended(model[layer]) - (extended(base[layer]) if with_base else 0)
            everything = [inputs(model, other)[site] for other in CONCEPTS]
            expected = closed_form(weight, inputs(model, name)[site], everything)
            assert relative(atlas[name][site], expected) < 1e-4


def test_every_subset_is_the_sum_of_its_engrams():
    """Eq. 7 and 8, for all proper subsets of four concepts; with another filter, of the merged moments."""
    model = network()
    atlas = atlas_of(model)
    for size in (1, 2, 3):
        for subset in combinations(CONCEPTS, size):
            merged, added = mt.erase(atlas, subset, 0.7), sum(-0.7 * atlas[name] for name in subset)
            for site in atlas.sites:
                assert relative(merged[site], added[site]) < 1e-5
            grouped = mt.Atlas(model, atlas.moments.group({"union": subset}))
            for filter in (mt.Soft(), mt.Hard(0.4), mt.Balanced()):
                union = mt.erase(grouped, "union", 0.7, filter)
                edit = mt.erase(atlas, subset, 0.7, filter)
                for site in atlas.sites:
                    torch.testing.assert_close(edit[site], union[site], atol=1e-5, rtol=1e-4)


def test_one_factorisation_serves_every_concept_and_reader(monkeypatch: pytest.MonkeyPatch):
    import mnemotomy.engram.operators as module

    calls, original = [], module.factorise
    monkeypatch.setattr(module, "factorise", lambda *args: calls.append(1) or original(*args))
    model = tiny_llama()
    data = {name: [text_batch(2, seed=i)] for i, name in enumerate("abc")}
    atlas = mt.Atlas(model, mt.collect(model, data, options=QUIET))
    for name in "abc":
        dict(atlas[name].items())
    assert len(calls) == 2 * 4
    forgetful = mt.Atlas(model, atlas.moments, keep=1)
    expected, found = dict(atlas["a"].items()), dict(forgetful["a"].items())
    assert all(torch.equal(expected[site], found[site]) for site in expected)
    assert len(calls) == 4 * 4


def test_concepts_by_name_number_and_list():
    atlas = atlas_of(network())
    assert list(atlas) == list("abcd")
    assert len(atlas) == 4
    assert "a" in atlas
    assert atlas[["a", "b", "a"]].concepts == ("a", "b")
    model = mlp(4, 2)
    numbered = mt.collect(model, [randn(6, 4)], concepts=lambda b: [0, 1, 2] * 2, options=QUIET)
    assert mt.Atlas(model, numbered)[1].concepts == ("1",)


@pytest.mark.parametrize(
    ("concepts", "message"),
    [("x", "no concept 'x'"), ([], "at least one"), (list("abcd"), "has no reference"), (["a", "y"], "no concept 'y'")],
)
def test_concepts_that_are_not_there_or_leave_no_reference(concepts: Any, message: str):
    with pytest.raises(ConceptError, match=message):
        atlas_of(network()).engram(concepts)


def test_a_concept_without_a_reference_names_the_site():
    model = network()
    moments = mt.collect(model, {"alone": [CONCEPTS["a"]]}, options=QUIET)
    with pytest.raises(ConceptError, match=r"'alone' has no reference at site '0': all 7 rows"):
        mt.Atlas(model, moments)


def test_unknown_sites_and_other_models():
    model = network()
    atlas = atlas_of(model)
    with pytest.raises(SelectionError, match="no site 'x' in this engram; there are 0, 2"):
        atlas["a"]["x"]
    with pytest.raises(SelectionError, match="has no site '2'"):
        mt.Atlas(mlp(5, 6), atlas.moments, check=False)
    with pytest.raises(SelectionError, match=r"shape \[6, 6\] here and \[7, 6\] in the base"):
        mt.Atlas(model, atlas.moments, base=mlp(5, 7, 3))["a"]["0"]


def test_a_weight_that_is_not_finite_is_named():
    model = network()
    moments = atlas_of(model).moments
    with torch.no_grad():
        model[2].weight[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="weight of site '2' is not finite"):
        mt.Atlas(model, moments, check=False)["a"]["2"]


def test_the_atlas_refuses_a_model_that_has_changed():
    model = network()
    atlas = atlas_of(model)
    engram = atlas["a"]
    before = dict(engram.items())
    with mt.erase(atlas, "b").on(model), pytest.raises(FingerprintError, match="has changed since"):
        engram["0"]
    after = dict(engram.items())
    assert all(torch.equal(before[site], after[site]) for site in before)
    with torch.no_grad():
        model[0].weight += 1
    with pytest.raises(FingerprintError, match="weight of site '0' has changed"):
        engram["0"]
    engram["2"]
    with torch.no_grad():
        model[0].weight -= 1e9  # the other site has not changed, and still may be asked for
    engram["2"]


def tensor_bytes() -> int:
    storages = {}
    for value in gc.get_objects():
        if isinstance(value, Tensor):
            storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
    return sum(storages.values())


def test_no_copy_of_the_model_is_made(monkeypatch: pytest.MonkeyPatch):
    model = nn.Sequential(nn.Linear(16, 4000, bias=False), nn.ReLU(), nn.Linear(4000, 16, bias=False))
    weights = sum(p.numel() * 4 for p in model.parameters())

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("copied")

    monkeypatch.setattr(copy, "deepcopy", refuse)
    pointers = [p.data_ptr() for p in model.parameters()]
    gc.collect()
    before = tensor_bytes()
    data = {"a": [randn(3, 16)], "b": [randn(9, 16, seed=1)]}
    moments = mt.collect(model, data, sites=["0"], options=QUIET)
    atlas = mt.Atlas(model, moments)
    assert tensor_bytes() - before < weights / 10
    assert [p.data_ptr() for p in model.parameters()] == pointers
    assert atlas.weight("0").data_ptr() == pointers[0]


def test_the_table_of_traces():
    model = network()
    atlas = atlas_of(model)
    table = atlas.trace(["a", "c"])
    assert list(table.columns) == [
        "concept", "site", "layer", "kind", "weight_norm", "effective_rank",
        "degrees_of_freedom", "share", "rows", "rank", "width",
    ]  # fmt: skip
    assert table[["concept", "site"]].to_numpy().tolist() == [["a", "0"], ["a", "2"], ["c", "0"], ["c", "2"]]
    for row in table.itertuples():
        mine = inputs(model, row.concept)[row.site]
        weight = extended(model[int(row.site)])
        total = torch.stack([gram(inputs(model, name)[row.site]) for name in CONCEPTS]).sum(0)
        operator = gram(mine) @ torch.linalg.pinv(total, rtol=1e-6, hermitian=True)
        assert row.weight_norm == pytest.approx(float((weight @ operator).norm() / weight.norm()), rel=1e-3)
        assert row.degrees_of_freedom == pytest.approx(float(operator.trace()), rel=1e-3)
        assert row.rank == int(torch.linalg.matrix_rank(total, rtol=1e-6, hermitian=True))
        assert (row.rows, row.width, row.layer) == (len(mine), mine.shape[1], int(row.site))
        assert row.share == pytest.approx(len(mine) / 48)
        shares = torch.linalg.svdvals(mine.double()) ** 2
        shares = shares / shares.sum()
        assert row.effective_rank == pytest.approx(float((-(shares * shares.log()).sum()).exp()), rel=1e-3)
    assert len(atlas.trace()) == 8
    assert (atlas.trace(filter=mt.Hard(0.99)).weight_norm <= 1).all()


def test_effective_rank_of_known_spectra():
    assert effective_rank(torch.eye(4)) == pytest.approx(4)
    assert effective_rank(torch.tensor([1.0, 1.0, 0.0])) == pytest.approx(2)
    assert effective_rank(torch.zeros(3, 3)) == 0
    assert effective_rank(torch.stack([torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, 0.0]])])) == pytest.approx(1.5)


@pytest.mark.parametrize("filter", [mt.Soft(), mt.Power(2.0)], ids=repr)
@pytest.mark.parametrize("with_base", [False, True])
def test_criteria_are_the_errors_of_table_1_on_the_rows_themselves(with_base: bool, filter: Any):
    model, base = network(), mlp(5, 6, 3, seed=5)
    atlas = atlas_of(model, base=base if with_base else None)
    found = mt.criteria(atlas, "b", filter)
    assert found.table.site.tolist() == ["0", "2"]
    for row in found.table.itertuples():
        layer = int(row.site)
        plus = inputs(model, "b")[row.site].double().T
        minus = torch.cat([inputs(model, name)[row.site].double() for name in "acd"]).T
        engram = atlas.engram("b", filter)[row.site].double()
        w1 = extended(model[layer])
        w0 = extended(base[layer]) if with_base else torch.zeros_like(w1)
        change_plus, change_minus = ((w1 - w0) @ plus).norm(), ((w1 - w0) @ minus).norm()
        expected = {
            "specificity": (engram @ minus).norm() / (w1 @ minus).norm(),
            "reactivation": (engram @ plus - (w1 - w0) @ plus).norm() / change_plus,
            "ablated_target": ((w1 - engram) @ plus - w0 @ plus).norm() / change_plus,
            "injected_target": ((w0 + engram) @ plus - w1 @ plus).norm() / change_plus,
            "injected_reference": ((w0 + engram) @ minus - w0 @ minus).norm() / change_minus,
            "ablated_reference": ((w1 - engram) @ minus - w1 @ minus).norm() / change_minus,
        }
        for name, value in expected.items():
            assert getattr(row, name) == pytest.approx(float(value), rel=2e-3), name
    assert set(found.mean.index) == set(expected)


def test_criteria_of_every_kind_of_site():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Conv1d(6, 4, 3, groups=2), nn.Flatten(), nn.Linear(8, 2))
    x = torch.randint(0, 9, (40, 6))
    moments = mt.collect(model, {"a": [x[:10]], "b": [x[10:]]}, sites="all", options=QUIET)
    table = mt.criteria(mt.Atlas(model, moments), "a").table.set_index("site")
    for site in ("0", "1", "3"):
        assert 0 < table.specificity[site] < 1
        assert 0 < table.reactivation[site] < 1


def two_blobs() -> tuple[nn.Module, dict[str, Tensor]]:
    """Two classes on different coordinates, which a linear layer tells apart."""
    a, b = torch.zeros(30, 6), torch.zeros(30, 6)
    a[:, :3], b[:, 3:] = randn(30, 3).abs() + 0.2, randn(30, 3, seed=1).abs() + 0.2
    model = nn.Linear(6, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0] * 3 + [0.0] * 3, [0.0] * 3 + [1.0] * 3]))
    return model, {"a": a, "b": b}


def test_necessity_and_sufficiency_on_a_task():
    model, data = two_blobs()
    atlas = mt.Atlas(model, mt.collect(model, {k: [v] for k, v in data.items()}, options=QUIET))

    def score(concept: str) -> Any:
        return lambda m: float((m(data[concept]).detach()[:, "ab".index(concept)] > 0.1).float().mean())

    assert mt.necessity(mt.erase(atlas, "a"), model, score("a")) == (1.0, 0.0)
    assert mt.necessity(mt.erase(atlas, "a"), model, score("b")) == (1.0, 1.0)
    null = mt.null_state(model, atlas)
    assert not null.weight.any()
    assert model.weight.any()
    assert mt.sufficiency(mt.inject(atlas, "a"), null, score("a")) == (0.0, 1.0)
    assert mt.sufficiency(mt.inject(atlas, "a"), null, score("b")) == (0.0, 0.0)
    assert not null.weight.any()


def test_the_null_state_spares_what_shares_a_weight_with_a_site():
    model = tiny_llama(tie_word_embeddings=True)
    data = {"a": [text_batch(2)], "b": [text_batch(2, seed=1)]}
    atlas = mt.Atlas(model, mt.collect(model, data, sites=["lm_head"], options=QUIET))
    null: Any = mt.null_state(model, atlas)
    assert not null.lm_head.weight.any()
    assert torch.equal(null.model.embed_tokens.weight, model.model.embed_tokens.weight)
    assert model.lm_head.weight is model.model.embed_tokens.weight
