"""Choosing sites by the PEFT convention, and errors that say what is there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import mlp, tiny_llama
from torch import nn

import mnemotomy as mt
from mnemotomy.core.errors import SelectionError
from mnemotomy.engram.sites import all_sites, parameter_names, select_sites, sites_by_name


@pytest.fixture(scope="module")
def llama() -> Any:
    return tiny_llama()


def test_all_linear_leaves_the_output_head_and_embeddings_out(llama: Any):
    names = list(select_sites(llama))
    assert len(names) == 2 * 7
    assert not any("lm_head" in name or "embed" in name for name in names)


def test_all_is_everything(llama: Any):
    names = set(select_sites(llama, "all"))
    assert names - set(select_sites(llama)) == {"model.embed_tokens", "lm_head"}


@pytest.mark.parametrize("selector", [["q_proj"], ("q_proj",), ["self_attn.q_proj"], r".*\.q_proj"])
def test_suffixes_and_regular_expressions(llama: Any, selector: Any):
    assert list(select_sites(llama, selector)) == [f"model.layers.{i}.self_attn.q_proj" for i in (0, 1)]


def test_several_suffixes_come_in_the_order_of_the_model(llama: Any):
    names = list(select_sites(llama, ["down_proj", "q_proj"], layers=1))
    assert names == ["model.layers.1.self_attn.q_proj", "model.layers.1.mlp.down_proj"]


def test_words_stand_beside_suffixes(llama: Any):
    linear = list(select_sites(llama))
    assert list(select_sites(llama, ["output-head", "all-linear"])) == [*linear, "lm_head"]
    assert next(iter(select_sites(llama, ["input-embedding", "q_proj"]))) == "model.embed_tokens"
    assert list(select_sites(llama, "output-head")) == ["lm_head"]
    with pytest.raises(SelectionError, match="Sequential has no output head that can be edited"):
        select_sites(nn.Sequential(nn.Linear(2, 2)), ["all-linear", "output-head"])


def test_a_suffix_is_whole_components(llama: Any):
    with pytest.raises(SelectionError, match="no site is named 'proj'"):
        select_sites(llama, ["proj"])


def test_layers_narrow(llama: Any):
    assert {site.layer for site in select_sites(llama, layers=[1]).values()} == {1}
    assert len(select_sites(llama, layers=range(2))) == 14
    with pytest.raises(SelectionError, match=r"no selected site is in block 5; there are blocks \[0, 1\]"):
        select_sites(llama, layers=[0, 5])


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        (["nothing"], r"no site is named 'nothing'.*q_proj \(2\)"),
        ("q_proj", r"no site's full name matches 'q_proj'. Did you mean the list \['q_proj'\]"),
        (["input_layernorm"], "is a LlamaRMSNorm, which is not an editable affine map"),
        ("model.norm", "model.norm is a LlamaRMSNorm"),
        ("(", "is not a valid regular expression"),
        ([], "matches no site"),
    ],
)
def test_errors_say_what_is_there(llama: Any, selector: Any, message: str):
    with pytest.raises(SelectionError, match=message):
        select_sites(llama, selector)


def test_a_model_without_sites_and_a_missing_name():
    with pytest.raises(SelectionError, match="LayerNorm has no layer that can be edited"):
        select_sites(nn.LayerNorm(3))
    with pytest.raises(SelectionError, match="has no site 'x'"):
        sites_by_name(mlp(2, 2), ["x"])


def test_errors_are_mnemotomy_errors():
    assert issubclass(SelectionError, mt.MnemotomyError)


def test_a_number_in_a_sequential_is_part_of_the_name():
    model = nn.ModuleDict({"net": mlp(2, 3, 2), "head": nn.Linear(2, 2)})
    assert list(select_sites(model, ["net.2", "head"])) == ["net.2", "head"]
    with pytest.raises(SelectionError, match="no site is named 'net'"):
        select_sites(model, ["net"])


def test_parameter_names(llama: Any):
    site = all_sites(llama)["model.layers.0.self_attn.q_proj"]
    assert parameter_names(llama, site) == ["model.layers.0.self_attn.q_proj.weight"]
    linear = nn.Linear(2, 2)
    assert parameter_names(linear, all_sites(linear)[""]) == ["weight", "bias"]


class Integer(nn.Linear):
    """As quantised layers are: an integer weight in a subclass of ``nn.Linear``."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.weight = nn.Parameter(torch.zeros(2, 2, dtype=torch.int8), requires_grad=False)


class Wrapped(torch.Tensor):
    """As torchao's quantised weights are: a tensor subclass that says it is of floating point."""


def float8() -> nn.Module:
    layer = nn.Linear(2, 2)
    layer.weight = nn.Parameter(torch.zeros(2, 2).to(torch.float8_e4m3fn), requires_grad=False)
    return layer


def subclassed() -> nn.Module:
    layer = nn.Linear(2, 2)
    layer.weight = nn.Parameter(torch.zeros(2, 2).as_subclass(Wrapped))
    return layer


class Packed(nn.Module):
    """As AWQ's, GPTQ's and HQQ's layers are: a linear map of packed weights that is not an ``nn.Linear``."""

    def __init__(self) -> None:
        super().__init__()
        self.in_features = self.out_features = 2
        self.register_buffer("qweight", torch.zeros(2, 1, dtype=torch.int32))
        self.scales = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.qweight.expand(2, 2).to(x) * self.scales


class Int4Parameter(nn.Parameter):
    """As bitsandbytes' ``Params4bit`` is: two numbers a byte, in a subclass of ``nn.Parameter``."""


def four_bits() -> nn.Module:
    layer = nn.Linear(2, 2)
    layer.weight = Int4Parameter(torch.zeros(2, 1, dtype=torch.uint8), requires_grad=False)
    return layer


def dynamic_int8() -> nn.Module:
    return torch.ao.nn.quantized.dynamic.Linear(2, 2)


def old_spectral_norm() -> nn.Module:
    return nn.utils.spectral_norm(nn.Linear(2, 2))


NOT_PLAIN = {
    "integer": Integer,
    "float8": float8,
    "tensor subclass": subclassed,
    "packed": Packed,
    "4 bits": four_bits,
    "dynamic int8": dynamic_int8,
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
    "bias parametrised": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2), "bias", dim=None),
    "spectral norm": old_spectral_norm,
    "lazy": lambda: nn.LazyLinear(3),
}


@pytest.mark.parametrize("kind", NOT_PLAIN)
@pytest.mark.filterwarnings("ignore")
def test_quantised_and_reparametrised_weights_are_not_offered(kind: str):
    assert all_sites(nn.ModuleList([NOT_PLAIN[kind](), nn.Linear(2, 2)])).keys() == {"1"}


@pytest.mark.parametrize("kind", NOT_PLAIN)
@pytest.mark.parametrize("selector", ["all-linear", "all", ["q_proj"], r"q_proj|.*\.q_proj"])
@pytest.mark.filterwarnings("ignore")
def test_a_selection_is_refused_where_some_of_it_is_quantised_or_reparametrised(kind: str, selector: Any):
    """Left out, they would keep what the edit takes from the others."""
    model = nn.ModuleList([nn.ModuleDict({"q_proj": one}) for one in (nn.Linear(2, 2), NOT_PLAIN[kind]())])
    with pytest.raises(
        SelectionError, match=r"1 of the 2 selected sites cannot be edited, '1.q_proj' first.*quantised"
    ):
        select_sites(model, selector)
    assert list(select_sites(model, selector, layers=0)) == ["0.q_proj"]


def test_a_module_around_a_linear_layer_is_left_to_it():
    wrapper = nn.Sequential(nn.Linear(2, 2))
    wrapper.in_features = wrapper.out_features = 2
    assert list(select_sites(wrapper)) == ["0"]


def test_positional_embeddings_that_take_no_indices_are_not_offered():
    from transformers.models.bart.modeling_bart import BartLearnedPositionalEmbedding, BartScaledWordEmbedding
    from transformers.models.opt.modeling_opt import OPTLearnedPositionalEmbedding

    positions = [OPTLearnedPositionalEmbedding(4, 3), BartLearnedPositionalEmbedding(4, 3)]
    words = [nn.Embedding(4, 3), BartScaledWordEmbedding(4, 3, 0, 2.0)]
    assert all_sites(nn.ModuleList([*positions, *words])).keys() == {"2", "3"}


def test_a_module_that_is_called_twice_is_one_site():
    layer = nn.Linear(2, 2)
    assert list(all_sites(nn.Sequential(layer, nn.ReLU(), layer))) == ["0"]
