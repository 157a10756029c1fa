"""``nn.MultiheadAttention`` against attention written out from the rows and weights of its four sites."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import QUIET, captured, gram, randn, random_delta, relative, rows_of, same_state, state_of, total
from torch import Tensor, nn

import mnemotomy as mt
from mnemotomy.engram.sites import all_sites

B, L, S, E, HEADS = 3, 4, 5, 8, 2
CASES: dict[str, dict[str, Any]] = {
    "packed": {},
    "packed no bias": {"bias": False},
    "batch first": {"batch_first": True},
    "separate": {"kdim": 6, "vdim": 7},
    "separate batch first no bias": {"kdim": 6, "vdim": 7, "bias": False, "batch_first": True},
    "bias kv": {"add_bias_kv": True},
    "zero attention": {"add_zero_attn": True, "batch_first": True},
    "everything": {"kdim": 6, "vdim": 5, "add_bias_kv": True, "add_zero_attn": True, "batch_first": True},
}
MASKS = ("none", "padding", "additive", "boolean", "both")


def make(case: str) -> nn.MultiheadAttention:
    torch.manual_seed(3)
    attention = nn.MultiheadAttention(E, HEADS, **CASES[case]).eval()
    for name, parameter in attention.named_parameters():
        if "bias" in name:
            nn.init.normal_(parameter)  # torch starts with zeros, which would hide mistakes
    return attention


def inputs(attention: nn.MultiheadAttention) -> tuple[Tensor, Tensor, Tensor]:
    tensors = randn(B, L, E), randn(B, S, attention.kdim, seed=1), randn(B, S, attention.vdim, seed=2)
    return tensors if attention.batch_first else tuple(x.transpose(0, 1) for x in tensors)


def masks(kind: str) -> dict[str, Any]:
    padding = torch.zeros(B, S, dtype=torch.bool)
    padding[1, 3:] = True
    boolean = torch.rand(L, S, generator=torch.Generator().manual_seed(5)) > 0.7
    boolean[:, 0] = False
    return {
        "none": {},
        "padding": {"key_padding_mask": padding},
        "additive": {"attn_mask": randn(L, S, seed=4)},
        "boolean": {"attn_mask": boolean},
        "both": {"key_padding_mask": padding, "attn_mask": boolean},
    }[kind]


def written_out(attention: nn.MultiheadAttention, rows: dict[str, Tensor], weights: dict[str, Tensor], mask: dict):
    """The heads before the output projection, ``[B, L, E]``, and the output."""
    q, k, v = (rows[name] @ weights[name].T for name in ("q_proj", "k_proj", "v_proj"))
    if attention.bias_k is not None:
        k = torch.cat([k, attention.bias_k.expand(B, 1, E)], dim=1)
        v = torch.cat([v, attention.bias_v.expand(B, 1, E)], dim=1)
    if attention.add_zero_attn:
        k, v = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
    bias = torch.zeros(B, 1, L, k.shape[1])
    if "attn_mask" in mask:
        given = mask["attn_mask"]
        extra = torch.zeros(L, S).masked_fill(given, -torch.inf) if given.dtype == torch.bool else given
        bias[..., :S] += extra
    if "key_padding_mask" in mask:
        bias[..., :S] += torch.zeros(B, 1, 1, S).masked_fill(mask["key_padding_mask"][:, None, None], -torch.inf)
    q, k, v = (x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (q, k, v))
    heads = (q @ k.mT / (E / HEADS) ** 0.5 + bias).softmax(-1) @ v
    heads = heads.transpose(1, 2).flatten(2)
    extended = torch.cat([heads, torch.ones(B, L, 1)], -1) if attention.in_proj_bias is not None else heads
    return heads, extended @ weights["out_proj"].T


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("case", CASES)
def test_attention_from_rows_and_weights(case: str, mask: str):
    attention, chosen = make(case), masks(mask)
    sites = all_sites(attention)
    assert list(sites) == ["q_proj", "k_proj", "v_proj", "out_proj"]
    x = inputs(attention)
    with torch.no_grad(), captured(sites) as readings:
        output, _ = attention(*x, **chosen)
    rows = {name: rows_of(site, readings[name][0]) for name, site in sites.items()}
    batch_first = output if attention.batch_first else output.transpose(0, 1)
    with torch.no_grad():
        heads, expected = written_out(attention, rows, {n: s.weight() for n, s in sites.items()}, chosen)
        torch.testing.assert_close(rows["out_proj"][..., :E], heads, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(batch_first, expected, atol=1e-5, rtol=1e-5)
        weights = {name: site.weight() + random_delta(site) for name, site in sites.items()}
        for site in sites.values():
            site.add_(random_delta(site))
        edited, _ = attention(*x, **chosen)
        _, expected = written_out(attention, rows, weights, chosen)
    edited = edited if attention.batch_first else edited.transpose(0, 1)
    torch.testing.assert_close(edited, expected, atol=1e-4, rtol=1e-4)


class Layers(nn.Module):
    """One attention that is called with query, key and value from a tuple."""

    def __init__(self, case: str) -> None:
        super().__init__()
        self.attention = make(case)

    def forward(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return self.attention(*batch)[0]


@pytest.mark.parametrize("case", CASES)
def test_moments_of_attention_by_concept(case: str):
    model = Layers(case)
    x = inputs(model.attention)
    sites = all_sites(model)
    with torch.no_grad(), captured(sites) as readings:
        model(x)
    call = mt.CollectOptions(progress=False, forward=lambda m, batch: m(batch[1:]))
    examples = torch.zeros(B)
    labels = ["a", "b", "a"]
    moments = mt.collect(model, [(examples, *x)], concepts=lambda _: labels, sites="all", options=call)
    for name, site in sites.items():
        rows = rows_of(site, readings[name][0])
        for concept, mine in (("a", rows[[0, 2]]), ("b", rows[[1]])):
            expected = gram(mine.flatten(0, 1))
            assert relative(total(moments, name, concept, site.has_bias), expected) < 1e-6
    assert len(moments.statistics) == 4  # three different inputs and the heads


def test_self_attention_shares_one_statistic_and_unbatched_input_works():
    attention = make("packed")
    x = randn(L, E)
    moments = mt.collect(
        attention,
        {"a": [x], "b": [randn(L, E, seed=1)]},
        sites="all",
        options=mt.CollectOptions(progress=False, forward=lambda m, batch: m(batch, batch, batch)),
    )
    assert moments.readers == {"q_proj": "q_proj", "k_proj": "q_proj", "v_proj": "q_proj", "out_proj": "out_proj"}
    assert relative(total(moments, "v_proj", "a"), gram(x)) < 1e-6


def encoder(batch_first: bool) -> nn.TransformerEncoder:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(E, HEADS, 12, batch_first=batch_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=batch_first).eval()


@pytest.mark.parametrize("padded", [False, True])
def test_encoder_layers_of_torch(padded: bool):
    """In evaluation mode they have a fused path that calls no module; and nested tensors where rows are padded."""
    model, x = encoder(batch_first=True), randn(B, L, E)
    padding = torch.arange(L)[None, :] >= torch.tensor([4, 2, 3])[:, None] if padded else None

    def call(model: nn.Module, batch: Tensor) -> Tensor:
        return model(batch, src_key_padding_mask=padding)

    with torch.no_grad():
        reference = call(model, x)
    before, flag = state_of(model), torch.backends.mha.get_fastpath_enabled()
    keep = torch.ones(B, L, dtype=torch.bool) if padding is None else ~padding
    moments = mt.collect(
        model,
        [x],
        concepts=lambda b: ["a", "b", "b"],
        mask=lambda b: keep,
        sites="all",
        options=mt.CollectOptions(progress=False, forward=call),
    )
    assert len(moments.readers) == 2 * 6
    assert torch.backends.mha.get_fastpath_enabled() == flag
    assert same_state(model, before)
    assert relative(total(moments, "layers.0.self_attn.k_proj", "b"), gram(x[1:][keep[1:]])) < 1e-6
    with torch.no_grad(), mt.erase(mt.Atlas(model, moments), "a").on(model):
        assert not torch.allclose(call(model, x)[0], reference[0], atol=1e-3)
    with torch.no_grad():
        assert torch.equal(call(model, x), reference)


def test_a_model_with_the_sequence_first_takes_batches_of_one_concept():
    model, x = encoder(batch_first=False), randn(L, B, E)
    moments = mt.collect(model, {"a": [x], "b": [randn(L, B, E, seed=1)]}, sites="all", options=QUIET)
    assert relative(total(moments, "layers.0.self_attn.q_proj", "a"), gram(x.flatten(0, 1))) < 1e-6
    with pytest.raises(mt.MnemotomyError, match=r"layers\.0\.self_attn\.q_proj.*cannot be matched"):
        mt.collect(model, [x], concepts=lambda b: ["a", "b", "b", "b"], sites="all", options=QUIET)


def test_decoder_layer_of_torch():
    torch.manual_seed(0)
    model = nn.TransformerDecoder(nn.TransformerDecoderLayer(E, HEADS, 12, batch_first=True), 2).eval()
    memory, target = randn(B, S, E), randn(B, L, E, seed=1)
    options = mt.CollectOptions(progress=False, forward=lambda m, batch: m(batch[0], batch[1]))
    causal = nn.Transformer.generate_square_subsequent_mask(L)
    options_causal = mt.CollectOptions(
        progress=False, forward=lambda m, batch: m(batch[0], batch[1], tgt_mask=causal, tgt_is_causal=True)
    )
    for chosen in (options, options_causal):
        moments = mt.collect(model, [(target, memory)], concepts=lambda b: ["a", "b", "b"], sites="all", options=chosen)
        cross = "layers.0.multihead_attn"
        assert moments.readers["layers.1.multihead_attn.v_proj"] == f"{cross}.k_proj"
        assert relative(total(moments, f"{cross}.v_proj", "b"), gram(memory[1:].flatten(0, 1))) < 1e-6
        atlas = mt.Atlas(model, moments)
        call = chosen.forward
        assert call is not None
        with torch.no_grad():
            before = call(model, (target, memory))
            edit = mt.erase(atlas, "a")
            dense = edit.materialize().apply(model)
            with edit.on(model):
                inside = call(model, (target, memory))
            assert torch.equal(call(model, (target, memory)), before)
            assert torch.equal(call(edit.apply(model), (target, memory)), inside)
            assert torch.equal(call(dense, (target, memory)), inside)


def test_attention_whose_weight_is_parametrised_is_not_offered():
    attention = make("packed")
    nn.utils.parametrizations.weight_norm(attention, "in_proj_weight")
    assert list(all_sites(attention)) == ["out_proj"]


def test_in_place_edit_of_attention_reads_the_weights_before_it():
    """Query and key are slices of one tensor with different inputs: one is written while the other is computed."""
    model = Layers("packed")
    x = inputs(model.attention)
    options = mt.CollectOptions(progress=False, forward=lambda m, batch: m(batch[1:]))
    moments = mt.collect(
        model, [(torch.zeros(B), *x)], concepts=lambda _: ["a", "b", "b"], sites="all", options=options
    )
    atlas = mt.Atlas(model, moments)
    edited = mt.erase(atlas, "a").apply(model)
    mt.erase(atlas, "a").apply_(model)
    assert same_state(model, state_of(edited))
