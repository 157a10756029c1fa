"""Digits: ten engrams from one pass and one factorisation; every subset of classes erased by arithmetic."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import mnemotomy as mt
from mnemotomy.demo.progress import shown

CLASSES = 10
BATCH_SIZE = 128
STRENGTHS = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
ERASED_AT_MOST = 0.02


@dataclass(frozen=True)
class DigitsConfig:
    """Shape and training of the network. Dropout spreads each class over many units, which helps its engram."""

    width: int = 256
    dropout: float = 0.6
    epochs: int = 150
    batch_size: int = 64
    learning_rate: float = 2e-3
    seed: int = 0


def digits_demo(config: DigitsConfig) -> dict[str, Any]:
    """Train, decompose, erase each class and every subset of classes. All accuracies are on test images.

    α is the smallest of ``STRENGTHS`` at which every class is erased on the *training* images (accuracy at most
    ``ERASED_AT_MOST``); the paper's α = 1 is also reported.
    """
    train, test = mt.load_digits(config.seed)
    model = train_classifier(train, config)
    moments = mt.collect(model, [(train.images, train.labels)], concepts=lambda batch: batch[1])
    atlas = mt.Atlas(model, moments)
    engrams = [atlas[digit].materialize() for digit in range(CLASSES)]
    strength = next(
        (a for a in STRENGTHS if diagonal_and_rest(erasure_matrix(model, engrams, a, train))[0] <= ERASED_AT_MOST),
        STRENGTHS[-1],
    )
    before = accuracies(model, test)
    after = erasure_matrix(model, engrams, strength, test)
    return {
        "before": before.tolist(),
        "after": after.tolist(),
        "after_paper": erasure_matrix(model, engrams, 1.0, test).tolist(),
        "strength": strength,
        "subsets": subsets(model, engrams, strength, test),
        "trace": atlas.trace_rows(),
    }


def train_classifier(train: mt.Split, config: DigitsConfig) -> nn.Module:
    """A three-layer perceptron trained with AdamW; the global random state is restored."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        width = config.width
        model = nn.Sequential(
            *(nn.Linear(64, width), nn.ReLU(), nn.Dropout(config.dropout)),
            *(nn.Linear(width, width), nn.ReLU(), nn.Dropout(config.dropout)),
            nn.Linear(width, CLASSES),
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=1e-4)
        batches = Shuffled(train, config.batch_size)
        return mt.fit(model, batches, _cross_entropy, optimizer, epochs=config.epochs, name="digits: training")


@dataclass(frozen=True)
class Shuffled:
    """Batches of images and labels, in another order every time."""

    split: mt.Split
    batch_size: int

    def __len__(self) -> int:
        return math.ceil(len(self.split.labels) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in torch.randperm(len(self.split.labels)).split(self.batch_size):
            yield self.split.images[batch], self.split.labels[batch]


def _cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    images, labels = batch
    return nn.functional.cross_entropy(model(images), labels)


def accuracies(model: nn.Module, split: mt.Split) -> Tensor:
    """The accuracy on each class, ``[10]``."""
    with torch.no_grad():
        predicted = torch.cat([model(images).argmax(-1) for images in split.images.split(BATCH_SIZE)])
    return torch.stack([(predicted[split.labels == digit] == digit).float().mean() for digit in range(CLASSES)])


def diagonal_and_rest(matrix: Tensor) -> tuple[float, float]:
    """The largest diagonal and the mean off-diagonal entry of an accuracy matrix (erased class × tested class)."""
    off = ~torch.eye(len(matrix), dtype=torch.bool)
    return float(matrix.diagonal().max()), float(matrix[off].mean())


def erasure_matrix(model: nn.Module, engrams: Sequence[mt.Edit], strength: float, split: mt.Split) -> Tensor:
    """Row i: the accuracy on each class after erasing class i."""
    rows = []
    for engram in engrams:
        with (-strength * engram).on(model):
            rows.append(accuracies(model, split))
    return torch.stack(rows)


def subsets(
    model: nn.Module,
    engrams: Sequence[mt.Edit],
    strength: float,
    split: mt.Split,
    sizes: Sequence[int] = range(1, CLASSES + 1),
    recalibrate: mt.Split | None = None,
) -> list[dict[str, Any]]:
    """All 2¹⁰ − 1 unlearned states of Eq. 7: mean accuracy on the erased and on the kept classes, by subset size.

    Args:
        model: edited temporarily.
        engrams: one per class.
        strength: α of each.
        split: the images for the accuracies.
        recalibrate: images on whose kept classes batch normalisation is recalibrated, if given.
    """
    found, scores = [], {}
    chosen = [one for size in sizes for one in itertools.combinations(range(CLASSES), size)]
    for subset in shown(chosen, "digits: subsets", len(chosen)):
        edit = combined(engrams, subset, strength)
        with edit.on(model, check=False), _recalibrated(model, recalibrate, subset):
            scores[subset] = accuracies(model, split)
    for size in sizes:
        erased, kept = [], []
        for subset, reached in scores.items():
            if len(subset) != size:
                continue
            inside = torch.zeros(CLASSES, dtype=torch.bool)
            inside[list(subset)] = True
            erased.append(float(reached[inside].mean()))
            if size < CLASSES:
                kept.append(float(reached[~inside].mean()))
        found.append(
            {
                "size": size,
                "subsets": len(erased),
                "erased_accuracy": sum(erased) / len(erased),
                "kept_accuracy": sum(kept) / len(kept) if kept else None,
            }
        )
    return found


def _recalibrated(model: nn.Module, images: mt.Split | None, erased: Sequence[int]) -> AbstractContextManager[Any]:
    """Recalibrate on the images of the kept classes, if there are any."""
    if images is None or len(erased) == CLASSES:
        return nullcontext()
    gone = torch.isin(images.labels, torch.tensor(erased, device=images.labels.device))
    return mt.recalibrated(model, [images.images[~gone]])


def combined(engrams: Sequence[mt.Edit], subset: Iterable[int], strength: float) -> mt.Edit:
    """``−α Σ W_k⁺``, the erasure of a subset of classes."""
    return -strength * functools.reduce(operator.add, [engrams[k] for k in subset])
