"""Edits are applied to a model and undone: bit for bit, at its own precision, and only where they fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import QUIET, mlp, relative, same_state, state_of, text_atlas, tiny_llama
from torch import Tensor, nn

import mnemotomy as mt
from mnemotomy.core.errors import FingerprintError, SelectionError


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
    assert same_state(lazy.apply(mlp(5, 6, 3), check=False), state_of(edit.apply(mlp(5, 6, 3), check=False)))


def test_weights_of_double_precision_keep_their_digits(atlas: mt.Atlas, model: nn.Sequential):
    double = mlp(5, 6, 3).double()
    with torch.no_grad():
        for parameter in double.parameters():
            parameter.mul_(1 + 1e-9)
    before = {name: value.clone() for name, value in double.state_dict().items()}
    mt.erase(atlas, "a", 1e-30).apply_(double, check=False)
    assert same_state(double, before)
    assert not any(value.any() for value in mt.null_state(double, atlas).parameters())


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


def test_half_precision_models_are_edited_in_float32_and_rounded_once():
    model = tiny_llama().to(torch.bfloat16)
    atlas = text_atlas(model, ["q_proj", "down_proj"])
    edit = mt.erase(atlas, "a", 0.3)
    edited = edit.apply(model)
    for name, delta in edit.items():
        weight = model.get_submodule(name).weight
        assert torch.equal(edited.get_submodule(name).weight, (weight.float() + delta).to(torch.bfloat16))
