"""Digits: ten engrams from one pass and one factorisation, every class and every subset erased by arithmetic."""

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

from mnemotomy.core.progress import progress_bar
from mnemotomy.core.seeds import seeded
from mnemotomy.data.digits import Split, load_digits
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import collect
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.recalibrate import recalibrated
from mnemotomy.methods.classifiers.classifier import BATCH_SIZE
from mnemotomy.metrics.accuracy import class_accuracies, diagonal_and_rest
from mnemotomy.training import loop as training
from mnemotomy.training.optimiser import Optimiser

CLASSES = 10
STRENGTHS = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
ERASED_AT_MOST = 0.02


@dataclass(frozen=True)
class DigitsConfig:
    """Shape and training of the network. Dropout spreads a class over many units, which its engram then separates."""

    width: int = 256
    dropout: float = 0.6
    epochs: int = 150
    batch_size: int = 64
    learning_rate: float = 2e-3
    seed: int = 0


def digits_demo(config: DigitsConfig) -> dict[str, Any]:
    """Train, decompose, erase each class and every subset of classes. Accuracies are on test images throughout.

    α is the smallest of ``STRENGTHS`` at which every class is erased on the *training* images (accuracy at most
    ``ERASED_AT_MOST``); the paper's α = 1 is reported beside it.
    """
    train, test = load_digits(config.seed)
    model = train_classifier(train, config)
    moments = collect(model, [(train.images, train.labels)], concepts=lambda batch: batch[1])
    atlas = Atlas(model, moments)
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
        "trace": atlas.trace().to_dict("records"),
    }


def train_classifier(train: Split, config: DigitsConfig) -> nn.Module:
    """A three-layer perceptron, trained with AdamW; the global random state is left as it was."""
    with seeded(config.seed, train.images.device):
        width = config.width
        model = nn.Sequential(
            *(nn.Linear(64, width), nn.ReLU(), nn.Dropout(config.dropout)),
            *(nn.Linear(width, width), nn.ReLU(), nn.Dropout(config.dropout)),
            nn.Linear(width, CLASSES),
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=1e-4)

        def batches(_: int, generator: torch.Generator) -> Iterator[training.Update[Tensor]]:
            for batch in torch.randperm(len(train.labels), generator=generator).split(config.batch_size):
                yield training.Update([batch])

        training.train(
            model,
            batches,
            lambda model, batch: nn.functional.cross_entropy(model(train.images[batch]), train.labels[batch]),
            Optimiser(optimizer),
            training.Run("digits: training", config.epochs),
        )
    return model


def accuracies(model: nn.Module, split: Split) -> Tensor:
    """The accuracy on each class, ``[10]``."""
    with torch.no_grad():
        predicted = torch.cat([model(images).argmax(-1) for images in split.images.split(BATCH_SIZE)])
    return class_accuracies(predicted, split.labels, CLASSES)


def erasure_matrix(model: nn.Module, engrams: Sequence[Edit], strength: float, split: Split) -> Tensor:
    """Row i: the accuracy on each class after erasing class i."""
    rows = []
    for engram in engrams:
        with (-strength * engram).on(model):
            rows.append(accuracies(model, split))
    return torch.stack(rows)


def subsets(
    model: nn.Module,
    engrams: Sequence[Edit],
    strength: float,
    split: Split,
    sizes: Sequence[int] = range(1, CLASSES + 1),
    recalibrate: Split | None = None,
) -> list[dict[str, Any]]:
    """The unlearned states of Eq. 7, 2¹⁰ − 1 in all: mean accuracy on the erased and on the kept classes, by size.

    Args:
        model: edited for a while each time.
        engrams: of every class.
        strength: α of all.
        split: that accuracies are read from.
        sizes: of the subsets.
        recalibrate: images whose kept classes batch normalisation is recalibrated on; not at all by default.
    """
    found = []
    with progress_bar("digits: subsets", sum(math.comb(CLASSES, size) for size in sizes)) as advance:
        for size in sizes:
            erased, kept = [], []
            for subset in itertools.combinations(range(CLASSES), size):
                edit = combined(engrams, subset, strength)
                with edit.on(model, check=False), _recalibrated(model, recalibrate, subset):
                    scores = accuracies(model, split)
                inside = torch.zeros(CLASSES, dtype=torch.bool)
                inside[list(subset)] = True
                erased.append(float(scores[inside].mean()))
                if size < CLASSES:
                    kept.append(float(scores[~inside].mean()))
                advance(1)
            found.append(
                {
                    "size": size,
                    "subsets": len(erased),
                    "erased_accuracy": sum(erased) / len(erased),
                    "kept_accuracy": sum(kept) / len(kept) if kept else None,
                }
            )
    return found


def _recalibrated(model: nn.Module, images: Split | None, erased: Sequence[int]) -> AbstractContextManager[Any]:
    """On the images of the other classes, where there are any."""
    if images is None or len(erased) == CLASSES:
        return nullcontext()
    gone = torch.isin(images.labels, torch.tensor(erased, device=images.labels.device))
    return recalibrated(model, [images.images[~gone]])


def combined(engrams: Sequence[Edit], subset: Iterable[int], strength: float) -> Edit:
    """``−α Σ W_k⁺``, the erasure of a subset by arithmetic on its members' engrams."""
    return -strength * functools.reduce(operator.add, [engrams[k] for k in subset])
