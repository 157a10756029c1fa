"""What several test files share: small models, batches, and the ground truth that moments are compared with."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import mnemotomy as mt
from mnemotomy.engram.sites import Reading, Site, all_sites

QUIET = mt.Collection(progress=False)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


def mlp(*widths: int, bias: bool = True, seed: int = 0) -> nn.Sequential:
    """Linear layers with ReLU between them, named 0, 2, 4, …"""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for left, right in itertools.pairwise(widths):
        layers += [nn.Linear(left, right, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def tiny_llama(**changes: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": 40,
        "max_position_embeddings": 32,
        "initializer_range": 0.3,
    }
    return LlamaForCausalLM(LlamaConfig(**(config | changes))).eval()


def text_batch(rows: int = 4, length: int = 8, *, seed: int = 0, padded: bool = True, vocabulary: int = 40) -> dict:
    """Token ids, with right padding of a different length in every row."""
    ids = torch.randint(1, vocabulary, (rows, length), generator=generator(seed))
    mask = torch.ones(rows, length, dtype=torch.long)
    if padded:
        for row in range(rows):
            mask[row, length - row % 3 :] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}


@contextlib.contextmanager
def captured(sites: Mapping[str, Site]) -> Iterator[dict[str, list[Reading]]]:
    """Every reading of ``sites`` while the model runs inside."""
    readings: dict[str, list[Reading]] = {name: [] for name in sites}
    handles = [
        handle
        for site in sites.values()
        for handle in site.attach(lambda name, reading: readings[name].append(reading))
    ]
    try:
        yield readings
    finally:
        for handle in handles:
            handle.remove()


def rows_of(site: Site, reading: Reading, groups: bool = False) -> Tensor:
    """The rows of one reading as the canonical weight takes them: with the bias' 1; one-hot rows written out."""
    rows = reading.layout.rows(reading.tensor)
    if not rows.is_floating_point():
        rows = nn.functional.one_hot(rows, site.weight().shape[1] - int(site.has_bias)).float()
    return torch.cat([rows, torch.ones(*rows.shape[:-1], 1)], dim=-1) if site.has_bias else rows


def gram(rows: Tensor) -> Tensor:
    """``XᵀX`` in float64; per group for grouped rows ``[..., groups, d]`` when they come as such."""
    rows = rows.double()
    return rows.mT @ rows


def relative(found: Tensor, expected: Tensor) -> float:
    """The relative Frobenius distance."""
    expected = expected.double()
    return float((found.double() - expected).norm() / expected.norm().clamp_min(1e-30))


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same_state(model: nn.Module, state: Mapping[str, Tensor]) -> bool:
    now = model.state_dict()
    return list(now) == list(state) and all(torch.equal(now[name], value) for name, value in state.items())


def random_delta(site: Site, seed: int = 1) -> Tensor:
    return randn(*site.weight().shape, seed=seed)


def only_site(model: nn.Module) -> Site:
    (site,) = all_sites(model).values()
    return site


def total(moments: mt.Moments, site: str, concept: str, bias: bool = False) -> Tensor:
    return moments.moment(site, concept).extended(bias)
