"""Blocks below an edit: they run once for each batch, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import seq2seq, text_batch, tiny_llama
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from mnemotomy.engram.sites import select_sites
from mnemotomy.methods.language.lower_blocks import cached_lower_blocks


def gpt2() -> Any:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(n_layer=3, n_embd=16, n_head=2, vocab_size=40, n_positions=32)).eval()


def llama() -> Any:
    return tiny_llama(num_hidden_layers=3)


def blocks_of(model: Any) -> Any:
    return model.transformer.h if hasattr(model, "transformer") else model.model.layers


def counted(module: nn.Module) -> list[int]:
    runs: list[int] = []
    module.register_forward_hook(lambda *_: runs.append(1))
    return runs


def loss_and_gradient(model: Any, batch: dict[str, Tensor], weight: Tensor) -> tuple[Tensor, Tensor]:
    loss = model(**batch, use_cache=False).logits.float().logsumexp(-1).sum()
    return loss.detach(), torch.autograd.grad(loss, weight)[0]


@pytest.mark.parametrize("make", [llama, gpt2])
def test_lower_blocks_run_once_and_the_numbers_are_the_same(make: Any):
    model = make()
    model.requires_grad_(False)
    site = select_sites(model, "all-linear", [2])
    weight = next(blocks_of(model)[2].mlp.parameters()).requires_grad_(True)
    runs = [counted(block.mlp) for block in blocks_of(model)]
    batches = [text_batch(seed=seed) for seed in (0, 1, 0)]

    def observed() -> list[Tensor]:
        before = weight.detach().clone()
        found = [*loss_and_gradient(model, batches[0], weight)]
        with torch.no_grad():
            weight.add_(0.1)
        for batch in batches:
            found += loss_and_gradient(model, batch, weight)
        with torch.no_grad():
            found.append(model(**batches[1], use_cache=False).logits)
            weight.copy_(before)
        return found

    expected = observed()
    assert [len(one) for one in runs] == [5, 5, 5]
    with cached_lower_blocks(model, site):
        found = observed()
    assert [len(one) for one in runs] == [7, 7, 10]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    observed()
    assert [len(one) for one in runs] == [12, 12, 15]


def test_the_cache_is_limited():
    model, batch = llama(), text_batch()
    model.requires_grad_(False)
    runs = counted(model.model.layers[0].mlp)
    with cached_lower_blocks(model, select_sites(model, "all-linear", [1]), limit=100):
        for _ in range(2):
            model(**batch, use_cache=False)
    assert len(runs) == 2


def test_overwritten_outputs_and_those_with_gradients_are_not_reused():
    model, batch = llama(), text_batch()
    runs = counted(model.model.layers[0].mlp)
    with cached_lower_blocks(model, select_sites(model, "all-linear", [1])):
        for _ in range(2):
            model(**batch, use_cache=False)
        assert len(runs) == 2
        model.requires_grad_(False)
        handle = model.model.layers[1].register_forward_pre_hook(lambda _, arguments: (arguments[0].add_(1.0),))
        first, second = (model(**batch, use_cache=False).logits for _ in range(2))
        handle.remove()
    assert len(runs) == 4
    assert torch.equal(first, second)


def test_blocks_are_as_before_after_an_error():
    model = llama()
    plain, replaced = model.model.layers[:2]
    replaced.forward = own = replaced.forward  # as accelerate does
    with pytest.raises(KeyError), cached_lower_blocks(model, select_sites(model, "all-linear", [2])):
        raise KeyError
    assert "forward" not in vars(plain)
    assert vars(replaced)["forward"] is own


@pytest.mark.parametrize(
    ("make", "selector"),
    [(lambda: seq2seq("t5"), "all-linear"), (llama, ["lm_head"]), (llama, ["up_proj"])],
    ids=["several stacks", "outside", "the lowest block"],
)
def test_without_blocks_below_nothing_is_cached(make: Any, selector: Any):
    model = make()
    with cached_lower_blocks(model, select_sites(model, selector)):
        assert not [module for module in model.modules() if "forward" in vars(module)]
