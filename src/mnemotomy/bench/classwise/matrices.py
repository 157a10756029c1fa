"""Accuracy matrices (Fig. 4, 11, 12): the accuracy on every class after each class, group or subset is erased."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.bench.classwise.anatomy import Anatomy
from mnemotomy.bench.classwise.observing import see
from mnemotomy.bench.demo.digits import CLASSES, ERASED_AT_MOST, combined, subsets
from mnemotomy.data.digits import Split
from mnemotomy.engram.edit import Edit
from mnemotomy.methods.engram import STRENGTHS
from mnemotomy.methods.engram_automatic import EngramAutomatic
from mnemotomy.methods.problem import Examples

Record = dict[str, Any]

PAPER, CHOSEN, AUTOMATIC = "α = 1", "α chosen", "automatic"
CHOSEN_ON = 500
"""Training examples of each class on which its α is chosen."""


def matrices(anatomy: Anatomy) -> Record:
    """Every class erased in turn: the paper's estimator at α = 1 and at an α chosen by class, and ours."""
    subject, engrams = anatomy.subject, anatomy.engrams
    strengths = chosen_strengths(anatomy)
    found = {
        PAPER: anatomy.after([-1.0 * engram for engram in engrams]),
        CHOSEN: anatomy.after([-alpha * engram for alpha, engram in zip(strengths, engrams, strict=True)]),
        AUTOMATIC: _automatic(anatomy, [(label,) for label in range(subject.classes)]),
    }
    return {
        "classes": list(subject.class_names),
        "strengths": strengths,
        "before": anatomy.before.tolist(),
        "matrices": {title: matrix.tolist() for title, matrix in found.items()},
        "summary": {title: judged(anatomy.before, matrix) for title, matrix in found.items()},
    }


def grouped(anatomy: Anatomy, strengths: Sequence[float]) -> Record:
    """Every group of classes erased in turn, and the accuracy on each group; α by class."""
    groups, engrams = anatomy.groups(), _scaled(anatomy, strengths)
    found = {
        CHOSEN: anatomy.after([combined(engrams, members, 1.0) for members in groups.values()]),
        AUTOMATIC: _automatic(anatomy, list(groups.values())),
    }

    def by_group(rows: Tensor) -> list[list[float]]:
        return torch.stack([rows[:, list(members)].mean(1) for members in groups.values()], 1).tolist()

    return {"groups": list(groups), "matrices": {title: by_group(rows) for title, rows in found.items()}}


def every_subset(anatomy: Anatomy, strengths: Sequence[float]) -> Record:
    """All 2ⁿ − 1 unlearned states from one decomposition, by size, at α = 1 and with α by class; for ten classes."""
    if anatomy.subject.classes != CLASSES:
        return {"images": 0, "sizes": {}}
    read = _some(anatomy.subject.test, anatomy.subject.case.subset_images)
    sizes = {
        title: subsets(anatomy.model, engrams, 1.0, Split(read.inputs, read.labels))
        for title, engrams in ((PAPER, anatomy.engrams), (CHOSEN, _scaled(anatomy, strengths)))
    }
    return {"images": len(read), "sizes": sizes}


def chosen_strengths(anatomy: Anatomy) -> list[float]:
    """By class, the smallest α of Table 5 that leaves at most ``ERASED_AT_MOST`` of its training examples recognised.

    The one that leaves least, where none does: beyond some α a class comes back. No test example is read.
    """
    return [_chosen(anatomy, label) for label in range(len(anatomy.engrams))]


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


def _chosen(anatomy: Anatomy, label: int) -> float:
    train = anatomy.subject.train
    read = _some(train[train.labels == label], CHOSEN_ON)
    found: list[tuple[float, float]] = []
    for strength in STRENGTHS:
        with (-strength * anatomy.engrams[label]).on(anatomy.model, check=False):
            found.append((see(anatomy.model, read).accuracy, strength))
        if found[-1][0] <= ERASED_AT_MOST:
            break
    return min(found)[1]


def _scaled(anatomy: Anatomy, strengths: Sequence[float]) -> list[Edit]:
    return [alpha * engram for alpha, engram in zip(strengths, anatomy.engrams, strict=True)]


def _some(examples: Examples, count: int | None) -> Examples:
    """At most ``count`` of them, drawn at random."""
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0))[:count]
    return examples[order.to(examples.labels.device)]
