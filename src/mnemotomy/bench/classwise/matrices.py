"""Accuracy matrices (Fig. 4, 11, 12): the accuracy on every class after each class, group or subset is erased."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.bench.classwise.anatomy import Anatomy
from mnemotomy.bench.classwise.observing import see
from mnemotomy.bench.demo.digits import CLASSES, ERASED_AT_MOST, STRENGTHS, combined, subsets
from mnemotomy.data.digits import Split
from mnemotomy.methods.engram_automatic import EngramAutomatic

Record = dict[str, Any]

PAPER, CHOSEN, AUTOMATIC = "α = 1", "α chosen", "automatic"
CHOSEN_ON = 1000
"""Training examples on which α is chosen."""


def matrices(anatomy: Anatomy) -> Record:
    """Every class erased in turn: the paper's estimator at α = 1 and at an α for all classes, and ours.

    α is the smallest of ``STRENGTHS`` that leaves at most ``ERASED_AT_MOST`` of any class's training examples
    recognised: no test example is read before it is fixed.
    """
    subject, engrams = anatomy.subject, anatomy.engrams
    strength = chosen_strength(anatomy)
    every = range(subject.classes)
    found = {
        PAPER: anatomy.after([-1.0 * engram for engram in engrams]),
        CHOSEN: anatomy.after([-strength * engram for engram in engrams]),
        AUTOMATIC: _automatic(anatomy, [(label,) for label in every]),
    }
    return {
        "classes": list(subject.class_names),
        "strength": strength,
        "before": anatomy.before.tolist(),
        "matrices": {title: matrix.tolist() for title, matrix in found.items()},
        "summary": {title: judged(anatomy.before, matrix) for title, matrix in found.items()},
    }


def grouped(anatomy: Anatomy, strength: float) -> Record:
    """Every group of classes erased in turn, and the accuracy on each group."""
    groups = anatomy.groups()
    edits = [combined(anatomy.engrams, members, strength) for members in groups.values()]
    found = {CHOSEN: anatomy.after(edits), AUTOMATIC: _automatic(anatomy, list(groups.values()))}

    def by_group(rows: Tensor) -> list[list[float]]:
        return torch.stack([rows[:, list(members)].mean(1) for members in groups.values()], 1).tolist()

    return {"groups": list(groups), "matrices": {title: by_group(rows) for title, rows in found.items()}}


def every_subset(anatomy: Anatomy, strength: float) -> Record:
    """All 2ⁿ − 1 unlearned states from one decomposition, by size; for ten classes."""
    test, case = anatomy.subject.test, anatomy.subject.case
    if anatomy.subject.classes != CLASSES:
        return {"sizes": [], "images": 0}
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[: case.subset_images]
    read = test[order.to(test.labels.device)]
    sizes = subsets(anatomy.model, anatomy.engrams, strength, Split(read.inputs, read.labels))
    return {"sizes": sizes, "images": len(read), "strength": strength}


def chosen_strength(anatomy: Anatomy) -> float:
    """The smallest α that erases every class on training examples, or the largest there is."""
    train = anatomy.subject.train
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:CHOSEN_ON]
    read = train[order.to(train.labels.device)]
    for strength in STRENGTHS[:-1]:
        if all(_left(anatomy, label, strength, read) <= ERASED_AT_MOST for label in range(len(anatomy.engrams))):
            return strength
    return STRENGTHS[-1]


def judged(before: Float[Tensor, " n"], matrix: Float[Tensor, "n n"]) -> Record:
    """What is left of the erased classes, and what the others lost, in shares of 1."""
    others = ~torch.eye(len(matrix), dtype=torch.bool)
    lost = (before[None, :] - matrix)[others].view(len(matrix), -1)
    return {
        "erased_mean": float(matrix.diagonal().mean()),
        "erased_worst": float(matrix.diagonal().max()),
        "others_lost_mean": float(lost.mean()),
        "others_lost_worst_row": float(lost.mean(1).max()),
        "others_lost_worst": float(lost.max()),
    }


def _automatic(anatomy: Anatomy, sets: Sequence[Sequence[int]]) -> Float[Tensor, "sets classes"]:
    """The accuracies after ours has erased each set of classes."""
    subject = anatomy.subject
    return torch.stack([see(EngramAutomatic()(subject.problem_of(*labels)), subject.test).by_class for labels in sets])


def _left(anatomy: Anatomy, label: int, strength: float, read: Any) -> float:
    own = read[read.labels == label]
    if not len(own):
        return 0.0
    with (-strength * anatomy.engrams[label]).on(anatomy.model, check=False):
        return see(anatomy.model, own).accuracy
