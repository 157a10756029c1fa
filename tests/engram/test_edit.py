"""Edits: a vector space, strengths, applying and undoing, files, and weights that two layers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import QUIET, mlp, randn, relative, same_state, seq2seq, state_of, text_batch, tiny_llama
from safetensors.torch import save_file
from torch import Tensor, nn

import mnemotomy as mt
from mnemotomy.core.errors import ArtifactError, DataError, FingerprintError, SelectionError, TiedWeightsError
from mnemotomy.core.modules import tied_parameters, untie

NAMES = tuple("abc")


def network() -> nn.Sequential:
    return mlp(5, 6, 3)


@pytest.fixture
def model() -> nn.Sequential:
    return network()


@pytest.fixture
def atlas(model: nn.Sequential) -> mt.Atlas:
    data = {name: [randn(6 + 3 * i, 5, seed=i)] for i, name in enumerate(NAMES)}
    return mt.Atlas(model, mt.collect(model, data, options=QUIET))


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


def test_apply_leaves_the_original_and_apply_in_place_does_not(model: nn.Sequential, atlas: mt.Atlas):
    before, edit = state_of(model), mt.erase(atlas, "a")
    edited = edit.apply(model)
    assert same_state(model, before)
    assert not {p.data_ptr() for p in edited.parameters()} & {p.data_ptr() for p in model.parameters()}
    for site, layer in (("0", 0), ("2", 2)):
        weight = torch.cat([edited[layer].weight, edited[layer].bias[:, None]], 1)
        torch.testing.assert_close(weight.detach(), atlas.sites[site].weight() + edit[site])
    assert edit.apply_(model) is model
    assert same_state(model, state_of(edited))


@pytest.mark.parametrize("fails", [False, True])
def test_on_restores_every_bit_and_the_parameters_themselves(model: nn.Sequential, atlas: mt.Atlas, fails: bool):
    model[2].weight.requires_grad_(False)
    before, parameters = state_of(model), dict(model.named_parameters())
    edited = mt.erase(atlas, "a").apply(model)
    try:
        with mt.erase(atlas, "a").on(model) as inside:
            assert inside is model
            assert same_state(model, state_of(edited))
            assert not model[2].weight.requires_grad
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert same_state(model, before)
    assert all(parameter is parameters[name] for name, parameter in model.named_parameters())
    dict(atlas["b"].items())


def test_edits_nest(model: nn.Sequential, atlas: mt.Atlas):
    before = state_of(model)
    a, b = mt.erase(atlas, "a").materialize(), mt.erase(atlas, "b").materialize()
    with a.on(model), b.on(model, check=False):
        assert torch.allclose(model[0].weight, before["0.weight"] + (a + b)["0"][:, :-1], atol=1e-6)
    assert same_state(model, before)


@pytest.mark.parametrize("how", ["apply", "apply_", "on"])
def test_another_model_is_refused_unless_told_otherwise(atlas: mt.Atlas, how: str):
    edit, other = mt.erase(atlas, "a").materialize(), mlp(5, 6, 3, seed=9)

    def use(**arguments: Any) -> None:
        if how == "on":
            with edit.on(other, **arguments):
                pass
        else:
            getattr(edit, how)(other, **arguments)

    with pytest.raises(FingerprintError, match="made for another model"):
        use()
    use(check=False)


def test_sites_that_are_missing_or_of_another_shape(atlas: mt.Atlas):
    edit = mt.erase(atlas, "a").materialize()
    with pytest.raises(SelectionError, match="no site '2'"):
        edit.apply(mlp(5, 6), check=False)
    with pytest.raises(SelectionError, match=r"site '0' has shape \[7, 6\] here and \[6, 6\]"):
        edit.apply(mlp(5, 7, 3), check=False)
    lazy, other = mt.erase(atlas, "a"), mlp(5, 6, 4)  # its first layer would fit
    before = state_of(other)
    with pytest.raises(SelectionError, match=r"'2' has weights of shape \[\[4, 6\], \[4\]\] here"):
        lazy.apply_(other, check=False)
    assert same_state(other, before)
    assert same_state(lazy.apply(network(), check=False), state_of(edit.apply(network(), check=False)))


def test_weights_of_double_precision_keep_their_digits(atlas: mt.Atlas, model: nn.Sequential):
    double = network().double()
    with torch.no_grad():
        for parameter in double.parameters():
            parameter.mul_(1 + 1e-9)
    before = {name: value.clone() for name, value in double.state_dict().items()}
    mt.erase(atlas, "a", 1e-30).apply_(double, check=False)
    assert same_state(double, before)
    assert not any(value.any() for value in mt.null_state(double, atlas).parameters())


def test_save_and_load(model: nn.Sequential, atlas: mt.Atlas, tmp_path: Path):
    path = tmp_path / "edit.safetensors"
    edit = mt.erase(atlas, ["a", "b"], "weight-norm", mt.Hard(0.4)) + 0.5 * atlas["c"]
    edit.save(path)
    loaded = mt.Edit.load(path)
    assert loaded.fingerprint == mt.fingerprint(model)
    assert loaded.describe()["terms"] == edit.describe()["terms"]
    assert loaded.describe()["terms"][0]["filter"] == {"kind": "hard", "threshold": 0.4}
    assert loaded.describe()["terms"][0]["cut"] == {"kind": "relative", "ratio": 1e-6}
    for site in ("0", "2"):
        assert torch.equal(loaded[site], edit[site])
    assert same_state(loaded.apply(model), state_of(edit.apply(model)))
    for scaled in (-2.0 * loaded, -2.0 * edit.materialize()):  # strengths are recorded as they are in the end
        assert scaled.describe()["terms"] == (-2.0 * edit).describe()["terms"]
    assert mt.inject(atlas, "a").materialize().describe()["strength"] == 1.0
    assert same_state((0.5 * loaded).apply(model), state_of((0.5 * edit).apply(model)))


def test_files_that_are_no_edit(atlas: mt.Atlas, tmp_path: Path):
    path = tmp_path / "edit.safetensors"
    mt.erase(atlas, "a").save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(ArtifactError, match="damaged"):
        mt.Edit.load(path)
    for header in ("{", "{}", "3"):
        save_file({"0": torch.zeros(2)}, path, metadata={"format": "mnemotomy-edit", "version": "1", "header": header})
        with pytest.raises(ArtifactError, match="damaged"):
            mt.Edit.load(path)
    atlas.moments.save(path)
    with pytest.raises(ArtifactError, match="is not an edit"):
        mt.Edit.load(path)
    with pytest.raises(ArtifactError, match="there is no file"):
        mt.Edit.load(tmp_path / "none")


class Blocks(nn.Module):
    """A grouped convolution, a transposed one, an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.conv = nn.Conv1d(4, 6, 3, padding=1, groups=2)
        self.back = nn.ConvTranspose1d(6, 4, 2, stride=2, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.back(self.conv(self.embed(x).mT))


@pytest.mark.parametrize("filter", [mt.Soft(), mt.Hard(0.3), mt.Ridge(0.1)], ids=repr)
def test_edits_of_grouped_convolutions_and_embeddings(filter: Any):
    model = Blocks()
    x = torch.randint(0, 7, (20, 5))
    moments = mt.collect(model, {"a": [x[:8]], "b": [x[8:]]}, sites="all", options=QUIET)
    before = state_of(model)
    atlas = mt.Atlas(model, moments)
    edit = mt.erase(atlas, "a", filter=filter)
    for name, site in atlas.sites.items():
        operator = atlas.operator(name, "a", filter)
        weight = site.weight().to(operator.dtype)
        if operator.dim() == 1:
            expected = weight * operator
        elif operator.dim() == 3:
            expected = (weight.unflatten(0, (2, -1)) @ operator).flatten(0, 1)
        else:
            expected = weight @ operator
        assert relative(-edit[name], expected) < 1e-5
    expected, edited = model(x), edit.apply(model)(x)
    with edit.on(model):
        assert torch.equal(model(x), edited)
    assert not torch.allclose(edited, expected, atol=1e-3)
    assert same_state(model, before)


def tied_atlas(model: nn.Module, sites: Any) -> mt.Atlas:
    data = {"a": [text_batch(2)], "b": [text_batch(2, seed=1)]}
    return mt.Atlas(model, mt.collect(model, data, sites=sites, options=QUIET))


@pytest.mark.parametrize("site", ["lm_head", "embed_tokens"])
def test_tied_weights_are_refused_or_untied(site: str, tmp_path: Path):
    from transformers import AutoModelForCausalLM

    model = tiny_llama(tie_word_embeddings=True)
    before = state_of(model)
    edit = mt.erase(tied_atlas(model, [site, "q_proj"]), "a")
    for use in (edit.apply, edit.apply_, lambda m: edit.on(m).__enter__()):
        with pytest.raises(TiedWeightsError, match="is the same tensor as"):
            use(model)
    with pytest.raises(TiedWeightsError, match="neither 'refuse' nor 'untie'"):
        edit.apply(model, tied="x")
    edited = edit.apply(model, tied="untie")
    assert same_state(model, before)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.tie_word_embeddings
    other = {"lm_head": "model.embed_tokens.weight", "embed_tokens": "lm_head.weight"}[site]
    assert torch.equal(edited.state_dict()[other], before[other])
    assert not torch.equal(edited.lm_head.weight, edited.model.embed_tokens.weight)
    mt.save_model(edited, tmp_path / "edited")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "edited").eval()
    batch = text_batch(3)
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, edited(**batch).logits)
    with edit.on(model, tied="untie"), torch.no_grad():
        assert torch.equal(model(**batch).logits, edited(**batch).logits)
    assert same_state(model, before)
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_untied_encoder_decoders_load_as_they_were_saved(kind: str, tmp_path: Path):
    model = seq2seq(kind)
    data = {name: [text_batch(2, seed=i) | {"labels": torch.randint(1, 40, (2, 4))}] for i, name in enumerate("ab")}
    atlas = mt.Atlas(model, mt.collect(model, data, sites=["lm_head"], options=QUIET))
    edited = mt.erase(atlas, "a").apply(model, tied="untie")
    mt.save_model(edited, tmp_path / "edited")
    again = type(model).from_pretrained(tmp_path / "edited").eval()
    with torch.no_grad():
        assert torch.equal(again(**data["a"][0]).logits, edited(**data["a"][0]).logits)
        assert not torch.equal(model(**data["a"][0]).logits, edited(**data["a"][0]).logits)
    assert not tied_parameters(edited)


def test_a_module_in_two_places_is_one_reader():
    layer = nn.Linear(3, 3)
    assert tied_parameters(nn.Sequential(layer, nn.ReLU(), layer)) == {}
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    assert tied_parameters(tied) == dict.fromkeys(("0.weight", "1.weight"), ("0.weight", "1.weight"))
    untie(tied, "1.weight")
    assert tied_parameters(tied) == {}
    assert torch.equal(tied[0].weight, tied[1].weight)


def test_half_precision_models_are_edited_in_float32_and_rounded_once():
    model = tiny_llama().to(torch.bfloat16)
    atlas = tied_atlas(model, ["q_proj", "down_proj"])
    edit = mt.erase(atlas, "a", 0.3)
    edited = edit.apply(model)
    for name, delta in edit.items():
        weight = model.get_submodule(name).weight
        assert torch.equal(edited.get_submodule(name).weight, (weight.float() + delta).to(torch.bfloat16))
