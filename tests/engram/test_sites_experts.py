"""Fused experts of transformers' mixtures of experts, against the modules' own forward pass."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from helpers import QUIET, captured, gram, randn, random_delta, relative, rows_of, same_state, state_of, total
from torch import Tensor, nn

import mnemotomy as mt
from mnemotomy.engram.sites import Site, all_sites

EXPERTS, TOP, HIDDEN = 4, 2, 8


def mixtral() -> nn.Module:
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralExperts

    return MixtralExperts(MixtralConfig(hidden_size=HIDDEN, intermediate_size=8, num_local_experts=EXPERTS))


def qwen3_moe() -> nn.Module:
    from transformers import Qwen3MoeConfig
    from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeExperts

    return Qwen3MoeExperts(Qwen3MoeConfig(hidden_size=HIDDEN, moe_intermediate_size=8, num_experts=EXPERTS))


def gpt_oss() -> nn.Module:
    """Stored transposed, with biases, gate and up interleaved."""
    from transformers import GptOssConfig
    from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts

    return GptOssExperts(GptOssConfig(hidden_size=HIDDEN, intermediate_size=8, num_local_experts=EXPERTS))


def nemotron() -> nn.Module:
    """Without a gate."""
    from transformers import NemotronHConfig
    from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHExperts

    config = NemotronHConfig(hidden_size=HIDDEN, moe_intermediate_size=8, n_routed_experts=EXPERTS)
    config.moe_latent_size = None
    return NemotronHExperts(config)


KINDS = {"mixtral": mixtral, "qwen3_moe": qwen3_moe, "gpt_oss": gpt_oss, "nemotron_h": nemotron}
IMPLEMENTATIONS = ("eager", "batched_mm", "grouped_mm")


def make(kind: str, implementation: str = "eager") -> Any:
    torch.manual_seed(1)
    experts: Any = KINDS[kind]()
    experts.config._experts_implementation = implementation
    for parameter in experts.parameters():
        nn.init.normal_(parameter, std=0.5)
    return experts.eval()


def routed(tokens: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    index = torch.stack(
        [torch.randperm(EXPERTS, generator=torch.Generator().manual_seed(i))[:TOP] for i in range(tokens)]
    )
    return randn(tokens, HIDDEN), index, randn(tokens, TOP, seed=2).softmax(-1)


def written_out(
    experts: Any, sites: dict[str, Site], weights: dict[str, Tensor], call: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Every expert from its canonical weights, for the tokens that are routed to it."""
    hidden, index, scale = call
    first = "gate_up_proj" if experts.has_gate else "up_proj"
    output = torch.zeros_like(hidden)

    def times(x: Tensor, name: str) -> Tensor:
        extended = torch.cat([x, torch.ones(len(x), 1)], 1) if sites[name].has_bias else x
        return extended @ weights[name].T

    for expert in range(EXPERTS):
        tokens, position = (index == expert).nonzero(as_tuple=True)
        up = times(hidden[tokens], f"{first}.{expert}")
        if not experts.has_gate:
            inner = experts.act_fn(up)
        elif experts.is_concatenated:
            gate, up = up.chunk(2, dim=-1)
            inner = experts.act_fn(gate) * up
        else:
            gate = up[:, ::2].clamp(max=experts.limit)
            inner = (up[:, 1::2].clamp(-experts.limit, experts.limit) + 1) * gate * torch.sigmoid(gate * experts.alpha)
        output.index_add_(0, tokens, times(inner, f"down_proj.{expert}") * scale[tokens, position, None])
    return output


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_experts_from_their_canonical_weights(kind: str, implementation: str):
    experts, call = make(kind, implementation), routed()
    sites = all_sites(experts)
    assert len(sites) == 2 * EXPERTS
    with torch.no_grad():
        weights = {name: site.weight().clone() for name, site in sites.items()}
        torch.testing.assert_close(experts(*call), written_out(experts, sites, weights, call), atol=1e-4, rtol=1e-4)
        for name, site in sites.items():
            site.add_(0.3 * random_delta(site))
            weights[name] += 0.3 * random_delta(site)
        torch.testing.assert_close(experts(*call), written_out(experts, sites, weights, call), atol=1e-4, rtol=1e-4)
        for name, site in sites.items():
            torch.testing.assert_close(site.weight(), weights[name])


@pytest.mark.parametrize("kind", KINDS)
def test_each_expert_sees_only_the_tokens_routed_to_it(kind: str):
    experts, (hidden, index, scale) = make(kind), routed()
    sites = all_sites(experts)
    with torch.no_grad(), captured(sites) as readings:
        experts(hidden, index, scale)
    for name, site in sites.items():
        (reading,) = readings[name]
        expert = int(name.rpartition(".")[2])
        assert torch.equal(reading.tokens, (index == expert).any(1).nonzero()[:, 0])
        if not name.startswith("down"):
            assert torch.equal(rows_of(site, reading)[:, :HIDDEN], hidden[reading.tokens])


def tiny_moe(kind: str) -> Any:
    import transformers

    small = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": 40,
        "intermediate_size": 12,
        "initializer_range": 0.3,
    }
    torch.manual_seed(0)
    if kind == "mixtral":
        config: Any = transformers.MixtralConfig(num_local_experts=4, **small)
        return transformers.MixtralForCausalLM(config).eval()
    if kind == "qwen3_moe":
        config = transformers.Qwen3MoeConfig(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=12, **small)
        return transformers.Qwen3MoeForCausalLM(config).eval()
    config = transformers.GptOssConfig(num_local_experts=4, num_experts_per_tok=2, head_dim=8, **small)
    return transformers.GptOssForCausalLM(config).eval()


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "gpt_oss"])
def test_padding_and_concepts_reach_the_experts(kind: str):
    model = tiny_moe(kind)
    ids = torch.randint(1, 40, (4, 8))
    mask = torch.ones(4, 8, dtype=torch.long)
    mask[0, 5:] = mask[2, 6:] = 0
    labels = ["a", "b", "b", "a"]
    sites = {name: site for name, site in all_sites(model).items() if site.routed}
    assert len(sites) == 2 * 2 * 4
    with torch.no_grad(), captured(sites) as readings:
        model(input_ids=ids, attention_mask=mask)
    concept = torch.tensor([0, 1, 1, 0])[:, None].masked_fill(mask == 0, -1).reshape(-1)
    moments = mt.collect(
        model,
        [{"input_ids": ids, "attention_mask": mask}],
        concepts=lambda b: labels,
        sites=["experts.gate_up_proj", "experts.down_proj"],
        options=QUIET,
    )
    for name, site in sites.items():
        if name not in moments.readers:
            assert not readings[name]
            continue
        rows, reading = rows_of(site, readings[name][0]), readings[name][0]
        for i, which in enumerate("ab"):
            mine = rows[concept[reading.tokens] == i]
            assert moments.count(name, which) == len(mine)
            assert relative(total(moments, name, which, site.has_bias), gram(mine)) < 1e-5 or len(mine) == 0


@pytest.mark.parametrize("kind", ["mixtral", "gpt_oss"])
@pytest.mark.parametrize("filter", [mt.Soft(), mt.Hard(0.3), mt.Balanced(), mt.Excess()], ids=repr)
def test_experts_are_edited_in_place_and_restored(kind: str, filter: mt.Soft):
    """Experts are slices of one tensor: one is written while the next is computed from it."""
    model = tiny_moe(kind)
    batches = [{"input_ids": torch.randint(1, 40, (2, 6))} for _ in range(3)]
    moments = mt.collect(model, {"a": batches[:1], "b": batches[1:]}, options=QUIET)
    atlas = mt.Atlas(model, moments)
    before = state_of(model)
    edit = mt.erase(atlas, "a", filter=filter)
    copy = edit.apply(model)
    assert same_state(model, before)
    with edit.on(model):
        assert same_state(model, state_of(copy))
    assert same_state(model, before)
    dict(atlas["b"].items())  # the atlas still knows the model
    assert same_state(edit.apply_(model), state_of(copy))


def test_an_expert_that_a_concept_never_reaches_keeps_its_weights():
    model = tiny_moe("mixtral")
    one, many = {"input_ids": torch.tensor([[3]])}, {"input_ids": torch.randint(1, 40, (4, 8))}
    moments = mt.collect(model, {"one": [one], "many": [many]}, sites=["gate_up_proj"], options=QUIET)
    atlas = mt.Atlas(model, moments)
    unreached = [name for name in moments.readers if moments.count(name, "one") == 0]
    assert unreached
    for chosen in (mt.Soft(), mt.Balanced(), mt.Excess(), mt.Hard()):
        engram = atlas.engram("one", chosen)
        assert all(bool((engram[name] == 0).all()) for name in unreached)
    assert len(atlas.trace(filter=mt.Balanced())) == 2 * len(moments.readers)


def test_experts_that_only_padding_reaches_are_left_out_with_a_warning():
    model = tiny_moe("mixtral")
    batch = {
        "input_ids": torch.tensor([[3, 9, 17, 25, 33, 11, 7, 20]]),
        "attention_mask": torch.tensor([[1] + [0] * 7]),
    }
    with pytest.warns(UserWarning, match="never reached"):
        moments = mt.collect(model, {"a": [batch], "b": [batch]}, sites=["gate_up_proj"], layers=0, options=QUIET)
    assert len(moments.readers) == TOP
    mt.Atlas(model, moments).trace()


def test_merging_moments_that_reached_different_experts():
    model = tiny_moe("mixtral")
    parts = [{"input_ids": torch.tensor([[token, token]])} for token in (3, 8, 21)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = mt.collect(model, {"a": parts[:1], "b": parts[1:]}, options=QUIET)
        split = [mt.collect(model, {n: [p]}, options=QUIET) for n, p in zip("abb", parts, strict=True)]
    merged = split[0] + split[1] + split[2]
    assert set(merged.readers) == set(whole.readers)
    for site in whole.readers:
        for concept in "ab":
            assert merged.count(site, concept) == whole.count(site, concept)
            torch.testing.assert_close(total(merged, site, concept), total(whole, site, concept), rtol=1e-4, atol=1e-5)


class UnknownExperts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.zeros(2, 4, 3))
        self.down_proj = nn.Parameter(torch.zeros(2, 3, 2))


def test_unknown_expert_layout_is_left_out_with_a_warning():
    with pytest.warns(UserWarning, match="UnknownExperts have an unknown layout"):
        assert all_sites(nn.ModuleDict({"experts": UnknownExperts()})) == {}
