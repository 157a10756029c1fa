"""What several test files share: small models, batches, and the ground truth that moments are compared with."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mnemotomy as mt
from mnemotomy.engram.collector import Collector
from mnemotomy.engram.sites import Reading, Site, all_sites

QUIET = mt.CollectOptions(progress=False)

FILTER_CASES = [mt.Soft(), mt.Power(2.0), mt.Power(0.5), mt.Hard(0.4), mt.Excess(), mt.Balanced()]


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


class Wrapper(nn.Module):
    """Passes everything on to its module, as wrappers for several devices do."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


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


def seq2seq(kind: str) -> Any:
    import transformers

    torch.manual_seed(0)
    if kind == "t5":
        config: Any = transformers.T5Config(
            d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2, vocab_size=40, decoder_start_token_id=0
        )
        return transformers.T5ForConditionalGeneration(config).eval()
    config = transformers.BartConfig(
        d_model=8, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=12, decoder_ffn_dim=12, vocab_size=40, max_position_embeddings=32,
    )  # fmt: skip
    return transformers.BartForConditionalGeneration(config).eval()


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


class Network(nn.Module):
    """One site of every shape of statistic: diagonal, grouped, wide enough for blocks, plain."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(11, 4)
        self.conv = nn.Conv1d(4, 4, 3, padding=1, groups=2)
        self.wide = nn.Linear(4, 300)
        self.out = nn.Linear(300, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.wide(self.conv(self.embed(x).mT).mT).relu())


def tokens(rows: int, seed: int) -> Tensor:
    return torch.randint(0, 11, (rows, 5), generator=torch.Generator().manual_seed(seed))


def identical(left: mt.Moments, right: mt.Moments) -> bool:
    """Bit for bit, origin included."""
    return (
        left.readers == right.readers
        and left.concepts == right.concepts
        and left.origin == right.origin
        and all(
            torch.equal(moment.second, right.statistics[name][concept].second)
            and torch.equal(moment.first, right.statistics[name][concept].first)
            and moment.count == right.statistics[name][concept].count
            for name, statistic in left.statistics.items()
            for concept, moment in statistic.items()
        )
    )


NAMES = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.o_proj", "model.layers.1.mlp.down_proj"]


def brute_force(model: nn.Module, batch: dict[str, Any], keep: Tensor, names: list[str]) -> dict[str, Tensor]:
    """``XᵀX`` of the kept tokens, from the model's activations of one batch."""
    sites = {name: all_sites(model)[name] for name in names}
    with torch.no_grad(), captured(sites) as readings:
        model(**{k: v for k, v in batch.items() if k != "labels"})
    return {name: gram(rows_of(site, readings[name][0])[keep.bool()]) for name, site in sites.items()}


def moments_of(model: nn.Module, **concepts: Tensor) -> mt.Moments:
    return mt.collect(model, {name: [batch] for name, batch in concepts.items()}, sites="all", options=QUIET)


def text_atlas(model: nn.Module, sites: Any) -> mt.Atlas:
    """Of two concepts of token ids."""
    data = {"a": [text_batch(2)], "b": [text_batch(2, seed=1)]}
    return mt.Atlas(model, mt.collect(model, data, sites=sites, options=QUIET))


def close(left: mt.Moments, right: mt.Moments) -> bool:
    return set(left.concepts) == set(right.concepts) and all(
        left.count(site, concept) == right.count(site, concept)
        and relative(total(left, site, concept), total(right, site, concept)) < 1e-5
        and relative(left.moment(site, concept).first, right.moment(site, concept).first) < 1e-4
        for site in right.readers
        for concept in right.concepts
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def count_batches(monkeypatch: pytest.MonkeyPatch, interrupt_at: int | None = None) -> list[Any]:
    """Grows by an entry with every batch that is collected; Ctrl-C comes in the middle of the given one."""
    batch, seen = Collector.batch, []

    def counted(self: Collector, labels: Any) -> contextlib.AbstractContextManager[None]:
        seen.append(labels)
        if len(seen) == interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        return batch(self, labels)

    monkeypatch.setattr(Collector, "batch", counted)
    return seen
