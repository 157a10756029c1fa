"""Collecting: which rows count for which concept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import (
    NAMES,
    QUIET,
    brute_force,
    captured,
    gram,
    mlp,
    randn,
    relative,
    rows_of,
    seq2seq,
    text_batch,
    tiny_llama,
    total,
)
from torch import Tensor, nn

import mnemotomy as mt
from mnemotomy.core.errors import DataError, SharingError
from mnemotomy.engram.sites import all_sites


def equal(left: mt.Moments, right: mt.Moments, tolerance: float = 1e-5) -> bool:
    return set(left.readers) == set(right.readers) and all(
        left.count(site, concept) == right.count(site, concept)
        and relative(total(left, site, concept), total(right, site, concept)) <= tolerance
        for site in left.readers
        for concept in left.concepts
    )


def test_a_mapping_and_a_loader_with_concepts_agree():
    model = mlp(5, 6, 3)
    a, b = randn(4, 5), randn(6, 5, seed=1)
    mapping = mt.collect(model, {"a": [a[:2], a[2:]], "b": [b]}, options=QUIET)
    mixed = [(torch.cat([a, b])[i::3], (["a"] * 4 + ["b"] * 6)[i::3]) for i in range(3)]
    loader = mt.collect(model, mixed, concepts=lambda batch: batch[1], options=QUIET)
    assert equal(mapping, loader)
    assert mapping.origin.examples == {"a": 4, "b": 6} == loader.origin.examples


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("sites", ["all-linear", "all"])
def test_a_mapping_and_a_loader_agree_on_a_language_model(sites: str, padded: bool):
    model = tiny_llama()
    batch = text_batch(6, padded=padded)
    labels = ["a", "b", "b", "a", "b", "a"]
    rows = {c: [i for i, label in enumerate(labels) if label == c] for c in "ab"}
    mapping = mt.collect(
        model, {c: [{k: v[rows[c]] for k, v in batch.items()}] for c in "ab"}, sites=sites, options=QUIET
    )
    loader = mt.collect(model, [batch], concepts=lambda b: labels, sites=sites, options=QUIET)
    assert equal(mapping, loader)


def test_integer_and_none_concepts():
    model, x = mlp(4, 3), randn(5, 4)
    moments = mt.collect(model, [x], concepts=lambda b: torch.tensor([0, 1, 1, 0, 1]), options=QUIET)
    assert moments.concepts == ("0", "1")
    some = mt.collect(model, [x], concepts=lambda b: ["a", None, "b", None, "a"], options=QUIET)
    assert some.concepts == ("a", "b")
    assert relative(total(some, "0", "a"), gram(x[[0, 4]])) < 1e-6
    assert some.origin.examples == {"a": 2, "b": 1}


@pytest.mark.parametrize("kind", ["attention_mask", "labels", "both", "custom", "tuple"])
def test_only_tokens_that_count_enter(kind: str):
    model, batch = tiny_llama(), text_batch(4)
    mask = None
    keep = batch["attention_mask"]
    if kind in ("labels", "both"):
        labels = batch["input_ids"].clone()
        labels[:, :3] = -100
        keep = (labels != -100).long()
        batch["labels"] = labels
        if kind == "labels":
            del batch["attention_mask"]
        else:
            keep = keep * batch["attention_mask"]
    if kind == "custom":
        keep = (torch.rand(4, 8) > 0.5).long()
        mask = lambda b: keep[: len(b["input_ids"])]  # noqa: E731
    given: Any = (batch, torch.zeros(4)) if kind == "tuple" else batch
    moments = mt.collect(model, {"a": [given], "b": [given]}, sites=NAMES, mask=mask, options=QUIET)
    for name, expected in brute_force(model, batch, keep, NAMES).items():
        assert relative(total(moments, name, "a"), expected) < 1e-5
        assert moments.count(name, "a") == int(keep.sum())


def test_labels_of_examples_are_no_mask():
    from transformers import BertConfig, BertForSequenceClassification

    model = BertForSequenceClassification(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=40)
    )
    batch = text_batch(4)
    plain = mt.collect(model, {"a": [batch], "b": [batch]}, options=QUIET)
    labelled = batch | {"labels": torch.zeros(4, 3)}
    assert equal(plain, mt.collect(model, {"a": [labelled], "b": [labelled]}, options=QUIET), 0.0)


@pytest.mark.parametrize("shape", [(4,), (4, 8, 1), (3, 8)])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, ...]):
    batch = text_batch(4)
    with pytest.raises(DataError, match=r"mask of tokens has the shape"):
        mt.collect(tiny_llama(), {"a": [batch], "b": [batch]}, mask=lambda b: torch.ones(shape), options=QUIET)


CROSS = {
    "t5": ("encoder.block.1.layer.0.SelfAttention.q", "decoder.block.0.layer.1.EncDecAttention.k",
           "decoder.block.1.layer.1.EncDecAttention.v", "decoder.block.1.layer.2.DenseReluDense.wi"),
    "bart": ("model.encoder.layers.0.fc1", "model.decoder.layers.0.encoder_attn.k_proj",
             "model.decoder.layers.1.encoder_attn.v_proj", "model.decoder.layers.1.fc1"),
}  # fmt: skip


@pytest.mark.parametrize("same_length", [True, False])
@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_encoder_and_decoder_tokens_have_masks_of_their_own(kind: str, same_length: bool):
    model = seq2seq(kind)
    batch = text_batch(4)
    labels = torch.randint(1, 40, (4, 8 if same_length else 5))
    labels[1, 3:] = -100
    batch["labels"] = labels
    names = CROSS[kind]
    moments = mt.collect(model, {"a": [batch], "b": [batch]}, sites="all", options=QUIET)
    assert moments.readers[names[2]] == moments.readers[names[1]]  # keys and values of all cross-attention
    sites = {name: all_sites(model)[name] for name in names}
    with torch.no_grad(), captured(sites) as readings:
        model(**batch)
    for name in names:
        keep = (labels != -100) if name in (names[3],) else batch["attention_mask"].bool()
        rows = rows_of(sites[name], readings[name][0])[keep]
        assert relative(total(moments, name, "b", sites[name].has_bias), gram(rows)) < 1e-5
        assert moments.count(name, "b") == int(keep.sum())


def test_the_decoders_own_attention_mask_counts():
    model, batch = seq2seq("t5"), text_batch(3)
    inputs = torch.randint(1, 40, (3, 5))
    mask = (torch.arange(5)[None] < torch.tensor([5, 2, 3])[:, None]).long()
    batch |= {"decoder_input_ids": inputs, "decoder_attention_mask": mask}
    moments = mt.collect(model, {"a": [batch], "b": [batch]}, options=QUIET)
    assert moments.count(CROSS["t5"][3], "a") == 10
    assert moments.count(CROSS["t5"][0], "a") == int(batch["attention_mask"].sum())


def test_sites_that_read_one_tensor_share_one_statistic():
    model = tiny_llama()
    batches = {"a": [text_batch(2)], "b": [text_batch(3, seed=1)]}
    shared = mt.collect(model, batches, options=QUIET)
    first = "model.layers.0.self_attn"
    assert shared.readers[f"{first}.k_proj"] == shared.readers[f"{first}.v_proj"] == f"{first}.q_proj"
    assert shared.readers["model.layers.1.mlp.up_proj"] == "model.layers.1.mlp.gate_proj"
    assert len(shared.statistics) == 2 * 4
    apart = mt.collect(model, batches, options=mt.CollectOptions(progress=False, share_inputs=False))
    assert len(apart.statistics) == 2 * 7
    assert equal(shared, apart, 0.0)
    assert equal(shared + apart, apart + apart, 1e-6)


class InPlace(nn.Module):
    """Two layers that are given one tensor object, which is written to between them."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        first = self.one(x)
        return first + self.two(x.relu_())


def test_a_tensor_that_is_written_to_in_between_is_not_shared():
    x = randn(6, 4)
    moments = mt.collect(InPlace(), {"a": [x], "b": [x]}, options=QUIET)
    assert relative(total(moments, "one", "a"), gram(x)) < 1e-6
    assert relative(total(moments, "two", "a"), gram(x.relu())) < 1e-6


class Fickle(nn.Module):
    """Shares an input on the first call only."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.calls = nn.Linear(4, 4), nn.Linear(4, 4), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.one(x) + self.two(x if self.calls == 1 else x * 2)


def test_sharing_that_ends_is_an_error_and_can_be_turned_off():
    x = randn(6, 4)
    with pytest.raises(SharingError, match=r"'two'.*share_inputs=False"):
        mt.collect(Fickle(), {"a": [x], "b": [x]}, options=QUIET)
    moments = mt.collect(Fickle(), {"a": [x], "b": [x]}, options=mt.CollectOptions(progress=False, share_inputs=False))
    assert relative(total(moments, "two", "b"), gram(2 * x)) < 1e-6


class Positioned(nn.Module):
    """Adds learnt positions, as ``wpe(arange)`` does, and reads its ids flat where asked to."""

    def __init__(self, flat: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.flat, self.words, self.places, self.out = flat, nn.Embedding(9, 4), nn.Embedding(9, 4), nn.Linear(4, 2)
        self.distances = nn.Embedding(9, 1)

    def forward(self, ids: Tensor) -> Tensor:
        numbers = torch.arange(ids.shape[1])
        words = self.words(ids.reshape(-1)).view(*ids.shape, -1) if self.flat else self.words(ids)
        weights = self.distances((numbers[:, None] - numbers).abs())[..., 0].softmax(-1)
        return self.out(weights @ (words + self.places(numbers)))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("batch", [4, 5], ids=["", "as many examples as places"])
def test_places_belong_to_every_example(batch: int, flat: bool):
    ids = torch.randint(0, 9, (batch, 5), generator=torch.Generator().manual_seed(0))
    names = ["a" if i < 2 else "b" for i in range(batch)]
    apart = mt.collect(Positioned(), {"a": [ids[:2]], "b": [ids[2:]]}, sites="all", options=QUIET)
    mixed = mt.collect(Positioned(flat), [ids], concepts=lambda _: names, sites="all", options=QUIET)
    assert {site: apart.count(site, "a") for site in apart.readers} == {
        "words": 10, "places": 10, "distances": 50, "out": 10,
    }  # fmt: skip
    assert equal(apart, mixed)


def test_a_mask_of_the_patches_of_an_image():
    import transformers

    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=8, patch_size=4
    )
    model, x = transformers.ViTForImageClassification(config), randn(3, 3, 8, 8)
    mask = torch.zeros(3, 5, dtype=torch.bool)  # the class token and four patches
    mask[:, 1] = True
    moments = mt.collect(model, {"a": [x], "b": [x]}, mask=lambda _: mask, options=QUIET)
    counts = {site: moments.count(site, "a") for site in moments.readers}
    assert counts.pop("classifier") == 3
    assert set(counts.values()) == {3}
