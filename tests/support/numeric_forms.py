"""Numeric cases: degenerate Σ, kinds of layers, splits and merges, the algebra of edits, cuts, losses."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from helpers import QUIET, randn
from learned_cities import TEMPLATE, examples, trained
from oracle import cases, engram, layer, oracle, plainly, rows
from torch import Tensor, nn
from torch.nn.functional import pad, unfold
from transformers.pytorch_utils import Conv1D

import mnemotomy as mt
from mnemotomy.methods.language.losses import preference_loss, simnpo_loss, undial_loss
from mnemotomy.methods.language.predictions import sequence_log_probabilities
from mnemotomy.text.encoding import encode

CASES, case = cases()


def atlas_of(model: nn.Module, data: dict[str, Tensor], **how: Any) -> mt.Atlas:
    return mt.Atlas(model, mt.collect(model, {n: [x] for n, x in data.items()}, sites="all", options=QUIET), **how)


# degenerate Σ

SHARED = randn(12, 6, seed=3)
DEGENERATE = {
    "one row each": {"a": randn(1, 6), "b": randn(1, 6, seed=1)},
    "one row of a concept": {"a": randn(1, 6), "b": randn(30, 6, seed=1)},
    "fewer rows than inputs": {"a": randn(2, 6), "b": randn(2, 6, seed=1)},
    "inputs of rank 2": {"a": randn(20, 2) @ randn(2, 6, seed=7), "b": randn(30, 2, seed=1) @ randn(2, 6, seed=7)},
    "one row repeated": {"a": randn(1, 6).repeat(15, 1), "b": randn(1, 6, seed=1).repeat(20, 1)},
    "the same rows in both": {"a": SHARED, "b": SHARED},
    "a concept within the reference": {"a": SHARED[:4], "b": torch.cat([SHARED, randn(9, 6)])},
    "a concept of zeros": {"a": torch.zeros(9, 6), "b": randn(20, 6)},
    "a reference of zeros": {"a": randn(20, 6), "b": torch.zeros(9, 6)},
    "inputs without a common one": {"a": pad(randn(20, 3), (0, 3)), "b": pad(randn(20, 3, seed=1), (3, 0))},
    "an input that is always 0": {n: x * torch.tensor([1.0, 1, 0, 1, 1, 1]) for n, x in rows().items()},
    "an input that is always 1": {n: torch.cat([x[:, :5], torch.ones(len(x), 1)], 1) for n, x in rows().items()},
    "two equal inputs": {n: x[:, [0, 1, 2, 3, 4, 4]] for n, x in rows().items()},
}


@case("degenerate Σ", *DEGENERATE)
def an_engram_of(name: str) -> Any:
    return *plainly(layer(), DEGENERATE[name]), 1e-4


# kinds of layers: each against rows cut out by torch.nn.functional


def with_one(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones(*x.shape[:-1], 1)], -1)


def patches(x: Tensor, **how: Any) -> Tensor:
    return with_one(unfold(x, 3, **how).transpose(1, 2).flatten(0, 1))


def along(x: Tensor, step: int, spread: int, edge: int) -> Tensor:
    """The windows of width 3 of a Conv1d, one by one."""
    x = pad(x, (edge, edge))
    starts = range(0, x.shape[-1] - 2 * spread, step)
    return with_one(torch.stack([x[..., s : s + 2 * spread + 1 : spread].flatten(1) for s in starts], 1).flatten(0, 1))


IMAGES = {"a": randn(4, 3, 6, 7), "b": randn(6, 3, 6, 7, seed=1)}
SOUNDS = {"a": randn(8, 3, 11), "b": randn(9, 3, 11, seed=1)}
VECTORS = rows()
IDS = {"a": torch.arange(12).reshape(3, 4) % 5, "b": torch.arange(40).reshape(4, 10) % 9}
ONE_HOT = nn.functional.one_hot
LAYERS: dict[str, tuple[Callable[[], nn.Module], dict[str, Tensor], Callable[[Tensor], Tensor]]] = {
    "Linear with a bias": (lambda: nn.Linear(6, 4), VECTORS, with_one),
    "Linear over tokens": (lambda: nn.Linear(6, 4), {n: x.reshape(5, -1, 6) for n, x in VECTORS.items()},
                           lambda x: with_one(x.flatten(0, -2))),
    "Conv1D of GPT-2": (lambda: Conv1D(4, 6), VECTORS, with_one),
    "Conv2d": (lambda: nn.Conv2d(3, 5, 3), IMAGES, patches),
    "Conv2d, padded": (lambda: nn.Conv2d(3, 5, 3, padding=1), IMAGES, lambda x: patches(x, padding=1)),
    "Conv2d, strided": (lambda: nn.Conv2d(3, 5, 3, stride=2), IMAGES, lambda x: patches(x, stride=2)),
    "Conv2d, dilated": (lambda: nn.Conv2d(3, 5, 3, dilation=2), IMAGES, lambda x: patches(x, dilation=2)),
    "Conv2d, reflecting": (lambda: nn.Conv2d(3, 5, 3, padding=1, padding_mode="reflect"), IMAGES,
                           lambda x: patches(pad(x, (1, 1, 1, 1), "reflect"))),
    "Conv1d": (lambda: nn.Conv1d(3, 5, 3), SOUNDS, lambda x: along(x, 1, 1, 0)),
    "Conv1d, strided and dilated": (lambda: nn.Conv1d(3, 5, 3, stride=2, padding=2, dilation=2), SOUNDS,
                                    lambda x: along(x, 2, 2, 2)),
    "Embedding": (lambda: nn.Embedding(9, 4), IDS, lambda x: ONE_HOT(x.flatten(), 9).float()),
}  # fmt: skip


@case("kinds of layers", *LAYERS)
def an_engram_of_a(name: str) -> Any:
    torch.manual_seed(0)
    make, data, cut_out = LAYERS[name]
    model = make()
    weight = model.weight.detach()
    matrix = weight.mT if isinstance(model, Conv1D | nn.Embedding) else weight.flatten(1)
    bias = getattr(model, "bias", None)
    matrix = matrix if bias is None else torch.cat([matrix, bias.detach()[:, None]], 1)
    return engram(model, data), oracle(matrix, {n: cut_out(x) for n, x in data.items()}), 1e-4


@case("kinds of layers", "the tensor itself", "a parameter of its memory")
def a_tied_output_head(how: str) -> Any:
    """Untied, the head is edited by the closed form, and the embedding is not."""
    embedding, head = nn.Embedding(9, 6), nn.Linear(6, 9, bias=False)
    head.weight = embedding.weight if how == "the tensor itself" else nn.Parameter(embedding.weight.detach())
    model = nn.Sequential(embedding, nn.LayerNorm(6), head)
    inputs = {n: model[:2](ids).flatten(0, 1).detach() for n, ids in IDS.items()}
    moments = mt.collect(model, {n: [ids] for n, ids in IDS.items()}, sites=["2"], options=QUIET)
    before = embedding.weight.detach().double()
    edited = mt.erase(mt.Atlas(model, moments), "a").apply(model, tied="untie")
    found = torch.cat([edited[0].weight, edited[2].weight]).detach()
    return found, torch.cat([before, before - oracle(before, inputs)]), 1e-4


# splits, orders and merges


def by_tens(data: dict[str, Tensor]) -> dict[str, list[Tensor]]:
    return {name: list(x.split(7)) for name, x in data.items()}


def interleaved(data: dict[str, Tensor]) -> mt.Moments:
    """A loader of shuffled rows, each with its own concept."""
    names, everything = [n for n, x in data.items() for _ in x], torch.cat(list(data.values()))
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0)).tolist()
    loader = [order[i : i + 9] for i in range(0, len(order), 9)]
    options = mt.CollectOptions(progress=False, forward=lambda model, batch: model(everything[batch[:, 0]]))
    batches = [torch.tensor(part)[:, None] for part in loader]
    return mt.collect(layer(), batches, concepts=lambda b: [names[i] for i in b[:, 0].tolist()], options=options)


def resumed(data: dict[str, Tensor]) -> mt.Moments:
    options = mt.CollectOptions(progress=False, checkpoint="c", checkpoint_seconds=0.0)

    def stopping() -> Iterator[Tensor]:
        yield from by_tens(data)["b"][:2]
        raise KeyboardInterrupt

    try:
        mt.collect(layer(), {"a": by_tens(data)["a"], "b": stopping()}, options=options)
    except KeyboardInterrupt:
        return mt.collect(layer(), by_tens(data), options=options)
    raise AssertionError("it was not interrupted")


def merged(parts: int) -> Callable[[dict[str, Tensor]], mt.Moments]:
    def merge(data: dict[str, Tensor]) -> mt.Moments:
        found = [
            mt.collect(layer(), {n: [x[shard::parts]] for n, x in data.items()}, options=QUIET)
            for shard in range(parts)
        ]
        return sum(found[1:], found[0])

    return merge


def reread(data: dict[str, Tensor]) -> mt.Moments:
    merged(1)(data).save("m")
    return mt.Moments.load("m")


SPLITS: dict[str, Callable[[dict[str, Tensor]], mt.Moments]] = {
    "one row at a time": lambda data: mt.collect(layer(), {n: x.split(1) for n, x in data.items()}, options=QUIET),
    "seven rows at a time": lambda data: mt.collect(layer(), by_tens(data), options=QUIET),
    "backwards": lambda data: mt.collect(layer(), {n: [data[n].flip(0)] for n in "ba"}, options=QUIET),
    "concepts mixed in each batch": interleaved, "resumed": resumed, "saved and loaded": reread,
    "two merged": merged(2), "nine merged": merged(9),
}  # fmt: skip


@case("splits and merges", *SPLITS)
def moments_collected(name: str) -> Any:
    data = rows()
    found = mt.Atlas(layer(), SPLITS[name](data))["a"][""]
    return found, oracle(layer().weight, data), 1e-5


@case("splits and merges", 1, 3, 7)
def erased_of_ten_concepts(chosen: int) -> Any:
    data, names = rows(n=range(12, 32, 2)), list("abcdefghij")[:chosen]
    return mt.erase(atlas_of(layer(), data), names)[""], -oracle(layer().weight, data, names), 1e-4


# the algebra of edits, cuts and filters


@case("strengths and sums", 0.0, 0.5, -1.0, 1e3, 1e-6)
def erased_at(alpha: float) -> Any:
    expected = layer().weight.detach().double() - alpha * oracle(layer().weight.detach(), rows())
    return mt.erase(atlas_of(layer(), rows()), "a", alpha).apply(layer()).weight, expected, 1e-4


@case("strengths and sums")
def a_sum_of_engrams() -> Any:
    data, weight = rows(n=(20, 30, 25)), layer().weight
    atlas = atlas_of(layer(), data)
    found = 0.3 * atlas["a"] - 2 * atlas["b"]
    return found[""], 0.3 * oracle(weight, data) - 2 * oracle(weight, data, "b"), 1e-4


@case("strengths and sums")
def a_difference_from_a_base() -> Any:
    base = layer(scale=0.3)
    expected = oracle(layer().weight - base.weight, rows())
    return atlas_of(layer(), rows(), base=base)["a"][""], expected, 1e-4


@case("strengths and sums", False, True)
def projected_on_the_outputs(with_base: bool) -> Any:
    """``P_out W P`` with ``P_out = Z⁺Z⁺ᵀ (ZZᵀ)†`` of the outputs."""
    base = layer(scale=0.3) if with_base else None
    weight = (layer().weight - (base.weight if base is not None else 0)).detach().double()
    written = {n: x.double() @ weight.mT for n, x in rows().items()}
    expected = oracle(oracle(torch.eye(4), written) @ weight, rows())
    return atlas_of(layer(), rows(), base=base).engram("a", outputs=True)[""], expected, 1e-3


CUTS: dict[Any, Callable[[Tensor], Tensor]] = {
    mt.RelativeCut(0.05): lambda values: values > 0.05 * values[-1],
    mt.ConditionCut(30.0): lambda values: values > values[-1] / 30,
    mt.RankCut(2): lambda values: values >= values[-2],
    mt.RankCut(0.5): lambda values: values >= values[-3],
    mt.EnergyCut(0.8): lambda values: torch.stack([values[values > v].sum() for v in values]) < 0.8 * values.sum(),
    mt.FloatEpsCut(): lambda values: values > 6 * 2.0**-23 * values[-1],
}


@case("cuts and filters", *CUTS)
def cut_by(cut: Any) -> Any:
    return atlas_of(layer(), rows(), cut=cut)["a"][""], oracle(layer().weight, rows(), keep=CUTS[cut]), 1e-4


def _steep(mu: Tensor, tau: float, exponent: float) -> Tensor:
    return mu**exponent / (mu**exponent + tau**exponent)


FILTERS: dict[Any, Callable[[Tensor], Tensor]] = {
    mt.Steep(): lambda mu: _steep(mu, 2 * 20 / 50, 4),
    mt.Steep(1.2, 8.0): lambda mu: _steep(mu, 1.2 * 20 / 50, 8),
    mt.Power(0.3): lambda mu: mu**0.3,
}


@case("cuts and filters", *FILTERS)
def filtered_by(filter: Any) -> Any:
    found = atlas_of(layer(), rows()).engram("a", filter)[""]
    return found, oracle(layer().weight, rows(), response=FILTERS[filter]), 1e-4


# losses and log-probabilities


@case("losses", -1e4, -20.0, 0.0, 20.0, 1e4)
def a_preference_of_margin(margin: float) -> Any:
    beta = 0.1
    right = 2 / beta * (math.log1p(math.exp(-beta * abs(margin))) + max(-beta * margin, 0.0))
    return preference_loss(torch.tensor([margin]), beta), torch.tensor(right).double(), 1e-6


@case("losses")
def simnpo_of_long_answers() -> Any:
    sums, lengths = torch.tensor([-3.0, -4e3]), torch.tensor([2.0, 900.0])
    terms = [math.log1p(math.exp(-2.5 * (-s / n - 1))) for s, n in zip(sums.tolist(), lengths.tolist(), strict=True)]
    return simnpo_loss(sums, lengths, 2.5, 1.0), torch.tensor(2 / 2.5 * sum(terms) / 2).double(), 1e-6


@case("losses", 1.0, 1e3)
def undial_of_logits_times(scale: float) -> Any:
    logits, reference, targets = scale * randn(5, 9), scale * randn(5, 9, seed=1), torch.arange(5)
    aims = reference.double()
    aims[targets, targets] -= 10
    expected = -(aims.softmax(-1) * logits.double().log_softmax(-1)).sum(-1).mean()
    return undial_loss(logits, reference, targets, 10.0), expected, 1e-6


@case("losses", torch.float32, torch.bfloat16)
def log_probabilities_of_answers_in(dtype: torch.dtype) -> Any:
    """In one padded batch as one by one without padding, with the softmax in float64."""
    model, tokenizer = trained()
    model = copy.deepcopy(model).to(dtype)
    encoded = [encode(one, tokenizer, TEMPLATE) for one in examples(["Kyoto", "Rome"])]
    expected = []
    for one in encoded:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([one.input_ids])).logits[0].double()
        counted = [place for place, label in enumerate(one.labels) if label >= 0]
        spread = logits.log_softmax(-1)
        expected.append(sum(spread[place - 1, one.input_ids[place]] for place in counted))
    found = sequence_log_probabilities(model, encoded, tokenizer)
    return found, torch.stack(expected), 1e-5 if dtype == torch.float32 else 2e-2
