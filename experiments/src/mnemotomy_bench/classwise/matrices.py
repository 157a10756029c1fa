"""Accuracy matrices (Fig. 4, 11, 12): the accuracy on every class after each class, group or subset is erased."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.data.digits import Split
from mnemotomy.demo.digits import CLASSES, ERASED_AT_MOST, combined, subsets
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.moments import Moments
from mnemotomy.engram.recalibrate import has_batch_norm, recalibrate_
from mnemotomy.methods.classifiers.engram import FORGET, RETAIN, STRENGTHS, inputs_of
from mnemotomy.methods.classifiers.engram_automatic import ClassifierEngramAutomatic
from mnemotomy.methods.classifiers.problem import Problem
from mnemotomy.methods.classifiers.two_sided import ClassifierTwoSided
from mnemotomy_bench.classwise.class_engrams import Anatomy
from mnemotomy_bench.classwise.observing import see
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.vision.examples import some

PAPER, CHOSEN, AUTOMATIC, TWO_SIDED = "α = 1", "α chosen", "automatic", "two-sided"
RECALIBRATED = "α = 1, recalibrated"
CHOSEN_ON = 500
"""Training examples of each class to choose its α on, and of all classes to recalibrate subsets on."""


class OnMoments(ClassifierEngramAutomatic):
    """Ours, from moments collected once for every class and every group."""

    def erased(self, problem: Problem, moments: Moments) -> nn.Module:
        """A copy of the problem's model without the classes of its forget set."""
        forgotten = [str(label) for label in problem.forget.labels.unique().tolist()]
        kept = [concept for concept in moments.concepts if concept not in forgotten]
        atlas = Atlas(problem.model, moments.group({FORGET: forgotten, RETAIN: kept}))
        edited = self.choose_edit(problem, problem.model, atlas)[1].apply(problem.model, check=False).eval()
        return recalibrate_(edited, inputs_of(problem.retain, self.batch_size))


def matrices(anatomy: Anatomy) -> Record:
    """Each class erased alone by the paper's estimator: at α = 1, and at an α chosen by class."""
    engrams, strengths = anatomy.engrams, chosen_strengths(anatomy)
    found = {
        PAPER: anatomy.after([-1.0 * engram for engram in engrams]),
        CHOSEN: anatomy.after([-alpha * engram for alpha, engram in zip(strengths, engrams, strict=True)]),
    }
    return {
        "classes": list(anatomy.subject.class_names),
        "strengths": strengths,
        "before": anatomy.before.tolist(),
        **_described(anatomy, found),
    }


def automatic_matrix(anatomy: Anatomy, settings: Record) -> Record:
    """Each class erased alone by ours with these settings; filter and α chosen by class on training examples."""
    rows = [(label,) for label in range(anatomy.subject.classes)]
    return _described(anatomy, {AUTOMATIC: _automatic(anatomy, rows, settings)})


def two_sided_matrix(anatomy: Anatomy, settings: Record) -> Record:
    """Each class erased alone by the two-sided edit with these settings."""
    subject, method = anatomy.subject, ClassifierTwoSided(**settings)
    problems = (subject.problem_of(label, examples=subject.given) for label in range(subject.classes))
    rows = [see(method(problem), subject.test).by_class for problem in problems]
    return _described(anatomy, {TWO_SIDED: torch.stack(rows)})


def grouped(anatomy: Anatomy, strengths: Sequence[float], settings: Record) -> Record:
    """Each group of classes erased alone, and the accuracy on each group; α by class, and ours with ``settings``."""
    groups, engrams = anatomy.groups(), _scaled(anatomy, strengths)
    found = {
        CHOSEN: anatomy.after([combined(engrams, members, 1.0) for members in groups.values()]),
        AUTOMATIC: _automatic(anatomy, list(groups.values()), settings),
    }

    def by_group(rows: Tensor) -> list[list[float]]:
        return torch.stack([rows[:, list(members)].mean(1) for members in groups.values()], 1).tolist()

    return {"groups": list(groups), "matrices": {title: by_group(rows) for title, rows in found.items()}}


def every_subset(anatomy: Anatomy, strengths: Sequence[float]) -> Record:
    """All 2ⁿ − 1 unlearned states from one decomposition, by size, at α = 1 and with α by class; for ten classes."""
    if anatomy.subject.classes != CLASSES:
        return {"images": 0, "sizes": {}}
    read = some(anatomy.subject.test, anatomy.subject.case.subset_images)
    sizes = {
        title: subsets(anatomy.model, engrams, 1.0, Split(read.inputs, read.labels))
        for title, engrams in ((PAPER, anatomy.engrams), (CHOSEN, _scaled(anatomy, strengths)))
    }
    return {"images": len(read), "sizes": sizes}


def every_subset_recalibrated(anatomy: Anatomy) -> Record:
    """The same at α = 1 with batch normalisation recalibrated each time, on training images of the classes kept."""
    subject = anatomy.subject
    if subject.classes != CLASSES or not has_batch_norm(anatomy.model):
        return {"sizes": {}}
    read, kept = some(subject.test, subject.case.subset_images), some(subject.given, CHOSEN_ON)
    splits = [Split(examples.inputs, examples.labels) for examples in (read, kept)]
    return {"sizes": {RECALIBRATED: subsets(anatomy.model, anatomy.engrams, 1.0, splits[0], recalibrate=splits[1])}}


def chosen_strengths(anatomy: Anatomy) -> list[float]:
    """By class, the smallest α of Table 5 that leaves at most ``ERASED_AT_MOST`` of its training examples recognised.

    If none does, the one that leaves least: beyond some α a class comes back. No test example is read.
    """
    return [_chosen(anatomy, label) for label in range(len(anatomy.engrams))]


def smallest_strength(model: nn.Module, engram: Edit, left: Callable[[], float]) -> float:
    """The smallest α of Table 5 that leaves at most ``ERASED_AT_MOST``; if none does, the one that leaves least.

    Args:
        model: edited temporarily.
        engram: what is erased.
        left: the share of the erased examples that the edited model recognises.
    """
    found: list[tuple[float, float]] = []
    for strength in STRENGTHS:
        with (-strength * engram).on(model, check=False):
            found.append((left(), strength))
        if found[-1][0] <= ERASED_AT_MOST:
            break
    return min(found)[1]


def judged(before: Float[Tensor, " n"], matrix: Float[Tensor, "n n"]) -> Record:
    """What the erased classes keep and the others lose, in shares of 1."""
    others = ~torch.eye(len(matrix), dtype=torch.bool)
    lost = (before[None, :] - matrix)[others].view(len(matrix), -1)
    return {
        "erased_mean": float(matrix.diagonal().mean()),
        "erased_worst": float(matrix.diagonal().max()),
        "others_lost_mean": float(lost.mean()),
        "others_lost_worst_row": float(lost.mean(1).max()),
        "others_lost_worst": float(lost.max()),
    }


def _described(anatomy: Anatomy, found: dict[str, Tensor]) -> Record:
    return {
        "matrices": {title: matrix.tolist() for title, matrix in found.items()},
        "summary": {title: judged(anatomy.before, matrix) for title, matrix in found.items()},
    }


def _automatic(anatomy: Anatomy, sets: Sequence[Sequence[int]], settings: Record) -> Float[Tensor, "sets classes"]:
    """The accuracies after ours erased each set of classes, all from one collection."""
    subject, ours = anatomy.subject, OnMoments(**settings)
    rows = []
    for labels in sets:
        edited = ours.erased(subject.problem_of(*labels, examples=subject.given), anatomy.atlas.moments)
        rows.append(see(edited, subject.test).by_class)
    return torch.stack(rows)


def _chosen(anatomy: Anatomy, label: int) -> float:
    train = anatomy.subject.train
    read = some(train[train.labels == label], CHOSEN_ON)

    def left() -> float:
        return see(anatomy.model, read).accuracy

    return smallest_strength(anatomy.model, anatomy.engrams[label], left)


def _scaled(anatomy: Anatomy, strengths: Sequence[float]) -> list[Edit]:
    return [alpha * engram for alpha, engram in zip(strengths, anatomy.engrams, strict=True)]
