"""Collecting: the model is left as it was found, and every kind of batch and mistake."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import pytest
import torch
from helpers import (
    NAMES,
    QUIET,
    brute_force,
    gram,
    mlp,
    randn,
    relative,
    same_state,
    state_of,
    text_batch,
    tiny_llama,
    total,
)
from torch import Tensor, nn

import mnemotomy as mt
from mnemotomy.core.errors import ConceptError, DataError, NonFiniteError, RowsError
from mnemotomy.engram.sites import select_sites


def test_one_forward_pass_per_example():
    model, seen = mlp(4, 3, 3), []
    handle = model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    mt.collect(model, {"a": [randn(2, 4), randn(3, 4)], "b": [randn(5, 4)]}, options=QUIET)
    handle.remove()
    assert seen == [2, 3, 5]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_summed_in_float32(dtype: torch.dtype):
    model = tiny_llama().to(dtype)
    batch = text_batch(8, 24, padded=False)
    moments = mt.collect(model, {"a": [batch], "b": [batch]}, sites=NAMES, options=QUIET)
    for name, expected in brute_force(model, batch, torch.ones(8, 24), NAMES).items():
        assert total(moments, name, "a").dtype == torch.float32
        assert relative(total(moments, name, "a"), expected) < 1e-6
    assert moments.origin.model_dtype == str(dtype).removeprefix("torch.")


def test_sums_in_float64_on_request_and_in_nothing_coarser():
    model, x = mlp(4, 3), randn(50, 4)
    options = mt.CollectOptions(progress=False, dtype=torch.float64)
    moments = mt.collect(model, {"a": [x], "b": [x]}, options=options)
    assert relative(total(moments, "0", "a"), gram(x)) < 1e-14
    with pytest.raises(DataError, match="float32 or float64"):
        mt.CollectOptions(dtype=torch.bfloat16)


def test_coarse_products_that_the_caller_allows_are_off_meanwhile():
    before = torch.backends.mkldnn.matmul.fp32_precision
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        x = randn(64, 32)
        moments = mt.collect(mlp(32, 3), {"a": [x], "b": [x]}, options=QUIET)
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before
    assert relative(total(moments, "0", "a"), gram(x)) < 1e-6


class FailingError(Exception):
    pass


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was_found(fails: bool):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2)).double()
    model[2].eval()
    model[0].weight.requires_grad_(False)
    model(randn(5, 4).double()).sum().backward()
    flags = [module.training for module in model.modules()]
    gradients = {n: (p.requires_grad, None if p.grad is None else p.grad.clone()) for n, p in model.named_parameters()}
    state = state_of(model)
    pointers = [p.data_ptr() for p in model.parameters()]
    objects = [id(p) for p in model.parameters()]

    def batches():
        yield randn(5, 4).double()
        if fails:
            raise FailingError

    def run() -> None:
        mt.collect(model, {"a": batches(), "b": [randn(5, 4, seed=1).double()]}, options=QUIET)

    if fails:
        with pytest.raises(FailingError):
            run()
    else:
        run()
    assert flags == [module.training for module in model.modules()]
    assert same_state(model, state)
    assert pointers == [p.data_ptr() for p in model.parameters()]
    assert objects == [id(p) for p in model.parameters()]
    for name, parameter in model.named_parameters():
        wanted, gradient = gradients[name]
        assert parameter.requires_grad == wanted
        assert (parameter.grad is None) == (gradient is None)
        assert gradient is None or torch.equal(parameter.grad, gradient)
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    assert not any(getattr(module, kind) for module in model.modules() for kind in hooks)
    assert torch.is_grad_enabled()


def test_collecting_inside_inference_mode_gives_ordinary_tensors():
    model, x = mlp(4, 3, 2), randn(6, 4)
    with torch.inference_mode():
        moments = mt.collect(model, {"a": [x], "b": [x]}, options=QUIET)
    assert not total(moments, "0", "a").is_inference()
    model(x).sum().backward()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_activations_that_are_not_finite_name_concept_and_site(value: float):
    good, bad = randn(4, 5), randn(4, 5)
    bad[2, 1] = value
    with pytest.raises(NonFiniteError, match=r"site '0' are not finite for concept 'b'"):
        mt.collect(mlp(5, 3), {"a": [good], "b": [bad]}, options=QUIET)


def test_sums_that_are_finite_each_but_not_together_are_kept():
    x = torch.full((1, 3), 1.5e19)  # squares of 2.25e38 each, of 3.4e38 that float32 holds
    model = mlp(3, 3)
    with torch.no_grad():
        model[0].weight.zero_()
    moments = mt.collect(model, {"a": [x], "b": [randn(4, 3)]}, options=QUIET)
    assert not total(moments, "0", "a").sum().isfinite()


@pytest.mark.parametrize("batches", [[], [None]], ids=["no batch", "no token"])
def test_an_empty_concept_names_concept_and_site(batches: list[Any]):
    text = text_batch(2)
    nothing = {"input_ids": text["input_ids"], "attention_mask": torch.zeros(2, 8, dtype=torch.long)}
    data = {"a": [text], "empty": [nothing for _ in batches]}
    with pytest.raises(ConceptError, match=r"concept 'empty' is empty: none of its rows reached site 'model"):
        mt.collect(tiny_llama(), data, options=QUIET)


def test_nothing_at_all_is_an_error():
    with pytest.raises(ConceptError, match="nothing to collect"):
        mt.collect(mlp(3, 2), [], concepts=lambda b: [], options=QUIET)
    with pytest.raises(ConceptError, match="nothing to collect"):
        mt.collect(mlp(3, 2), [randn(2, 3)], concepts=lambda b: [None, None], options=QUIET)


class Crossing(nn.Module):
    """A layer whose rows belong to no one example."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.mixed = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.mixed(self.one(x)[:3])


def test_rows_that_match_no_example_are_an_error_unless_all_are_of_one_concept():
    model, x = Crossing(), randn(5, 4)
    with pytest.raises(RowsError, match=r"'mixed' reads rows of shape \[3, 4\].*5 examples"):
        mt.collect(model, [x], concepts=lambda b: ["a", "b", "a", "b", "a"], options=QUIET)
    moments = mt.collect(model, {"a": [x], "b": [x]}, options=QUIET)
    assert moments.count("mixed", "a") == 3


@pytest.mark.parametrize(
    ("data", "concepts", "message"),
    [
        ([randn(4, 3)], lambda b: ["a"], "4 examples has 1 concepts"),
        ([randn(4, 3)], None, "a loader needs concepts="),
        ({"a": [randn(4, 3)]}, lambda b: ["a"], "not both"),
        ({"a": ["text"]}, None, "type str contains no tensor"),
    ],
)
def test_malformed_data(data: Any, concepts: Any, message: str):
    with pytest.raises(DataError, match=message):
        mt.collect(mlp(3, 2), data, concepts=concepts, options=QUIET)


def test_a_batch_without_any_entry_the_model_takes():
    with pytest.raises(DataError, match=r"entries \['text'\], none of which LlamaForCausalLM takes"):
        mt.collect(tiny_llama(), {"a": [{"text": torch.ones(2, 3)}]}, options=QUIET)


class Pair(NamedTuple):
    inputs: Tensor
    target: Tensor


class Keyword(nn.Module):
    """As wrappers are: everything by keyword."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, **arguments: Tensor) -> Tensor:
        return self.inner(**arguments)


X = randn(4, 5)


@pytest.mark.parametrize(
    "batch",
    [X, (X, torch.zeros(4)), [X, torch.zeros(4)], Pair(X, torch.zeros(4)), {"input": X, "id": ["k"] * 4, "z": None}],
    ids=["tensor", "tuple", "list", "named tuple", "dict"],
)
def test_batches_of_any_usual_form(batch: Any):
    model = nn.Linear(5, 2)
    moments = mt.collect(model, {"a": [batch], "b": [batch]}, options=QUIET)
    assert relative(total(moments, "", "a"), gram(X)) < 1e-6


def test_a_wrapper_and_a_bare_batch():
    wrapped = Keyword(nn.Linear(5, 2))
    moments = mt.collect(wrapped, {"a": [{"input": X}], "b": {"input": X}}, options=QUIET)
    assert moments.count("inner", "b") == 4


def test_sites_that_no_batch_reaches_are_left_out_with_a_warning():
    model = mlp(4, 3)
    model.unused = nn.Linear(2, 2)
    call = mt.CollectOptions(progress=False, forward=lambda m, x: m[0](x))
    with pytest.warns(UserWarning, match="1 sites were never reached, 'unused' first; left out"):
        moments = mt.collect(model, {"a": [randn(2, 4)], "b": [randn(2, 4)]}, options=call)
    assert list(moments.readers) == ["0"]


def test_the_output_head_is_run_only_where_it_is_a_site():
    model, calls = tiny_llama(), []
    model.lm_head.register_forward_hook(lambda *args: calls.append(1))
    mt.collect(model, {"a": [text_batch()], "b": [text_batch()]}, options=QUIET)
    assert not calls
    assert "lm_head" in select_sites(model, "all")
    mt.collect(model, {"a": [text_batch()], "b": [text_batch()]}, sites="all", options=QUIET)
    assert len(calls) == 2


def test_collecting_in_another_thread_with_a_checkpoint(tmp_path: Any):
    found: list[mt.Moments] = []
    options = mt.CollectOptions(progress=False, checkpoint=tmp_path / "c.safetensors")
    thread = threading.Thread(
        target=lambda: found.append(mt.collect(mlp(3, 2), {"a": [randn(2, 3)], "b": [randn(2, 3)]}, options=options))
    )
    thread.start()
    thread.join()
    assert found[0].count("0", "a") == 2
