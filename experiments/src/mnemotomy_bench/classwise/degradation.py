"""Graceful degradation (Fig. 14): how erasing a class affects another, against the similarity of their inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy_bench.classwise.class_engrams import Anatomy
from mnemotomy_bench.classwise.observing import see
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.metrics.interval import bootstrap_interval
from mnemotomy_bench.metrics.rank_correlation import spearman

RESAMPLES = 1000


class Point(TypedDict):
    """An ordered pair of classes.

    Attributes:
        erased, other: their numbers.
        cosine: between the mean inputs of the head.
        drop: of the accuracy on ``other`` once ``erased`` is erased.
        same_superclass: None where classes have no superclasses.
    """

    erased: int
    other: int
    cosine: float
    drop: float
    same_superclass: bool | None


class Correlation(TypedDict):
    """Spearman's ρ, the ends of its interval where they are finite, and the number of points."""

    rho: float
    low: float | None
    high: float | None
    points: int


def degradation(anatomy: Anatomy, before: Sequence[float], matrices: Mapping[str, Sequence[Sequence[float]]]) -> Record:
    """One point per ordered pair of classes: the drop on ``other`` after ``erased``, and their cosine.

    Args:
        anatomy: of the network.
        before: the accuracy on each class.
        matrices: by title, the accuracy on each class (columns) after erasing each (rows).
    """
    cosines = mean_cosines(anatomy)
    group = {label: name for name, members in anatomy.subject.superclasses.items() for label in members}
    found: Record = {}
    for title, matrix in matrices.items():
        points: list[Point] = [
            {
                "erased": c,
                "other": other,
                "cosine": float(cosines[c, other]),
                "drop": before[other] - matrix[c][other],
                "same_superclass": group[c] == group[other] if group else None,
            }
            for c in range(len(before))
            for other in range(len(before))
            if other != c
        ]
        found[title] = {"points": points, **_judged(points)}
    return found


def mean_cosines(anatomy: Anatomy) -> Float[Tensor, "classes classes"]:
    """The cosine between the mean head inputs of any two classes, over training examples.

    The paper does not name a layer; directions of the head's input correspond to classes.
    """
    seen = see(anatomy.model, anatomy.subject.train)
    means = torch.stack([seen.features[seen.labels == label].mean(0) for label in range(anatomy.subject.classes)])
    directions = torch.nn.functional.normalize(means.double(), dim=1)
    return directions @ directions.mT


def rank_correlation(
    first: Sequence[float], second: Sequence[float], clusters: Sequence[int], seed: int = 0
) -> Correlation | None:
    """Spearman's ρ with its 95 % percentile bootstrap interval; None if one side is constant.

    Whole clusters are resampled: points that share an erased class are not independent.

    Raises:
        DataError: scipy is not installed.
    """
    x, y, of = np.asarray(first, float), np.asarray(second, float), np.asarray(clusters)
    observed = spearman(x, y)
    if not math.isfinite(observed):
        return None
    generator, names = np.random.default_rng(seed), np.unique(of)
    rows = [np.flatnonzero(of == name) for name in names]
    drawn = []
    for _ in range(RESAMPLES):
        chosen = np.concatenate([rows[place] for place in generator.integers(len(names), size=len(names))])
        drawn.append(spearman(x[chosen], y[chosen]))
    low, high = np.nanpercentile(drawn, (2.5, 97.5)) if np.isfinite(drawn).any() else (math.nan, math.nan)
    return {"rho": observed, "low": _finite(low), "high": _finite(high), "points": len(x)}


def _judged(points: Sequence[Point]) -> Record:
    sets = {"all": list(points)}
    if points[0]["same_superclass"] is not None:
        sets["same_superclass"] = [point for point in points if point["same_superclass"]]
        sets["different_superclass"] = [point for point in points if not point["same_superclass"]]
    found: Record = {"rank_correlation": {}, "mean_drop": {}}
    for name, some in sets.items():
        found["rank_correlation"][name] = rank_correlation(
            [point["cosine"] for point in some], [point["drop"] for point in some], [point["erased"] for point in some]
        )
        mean, low, high = bootstrap_interval([point["drop"] for point in some])
        found["mean_drop"][name] = {"mean": mean, "low": _finite(low), "high": _finite(high)}
    return found


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
