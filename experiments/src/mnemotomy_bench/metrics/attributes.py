"""How a slider on an attribute changes what a classifier reads from it and from the others (Fig. 7, 15)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from mnemotomy.core.errors import DataError
from mnemotomy_bench.metrics.rank_correlation import spearman


@dataclass(frozen=True)
class Slider:
    """The readings of one attribute as α grows.

    Attributes:
        means: the reading at each α, averaged over images.
        rank_correlation: Spearman's ρ of those means with α; −1 if every step of α removes some
            of the attribute, 0 if they are all the same.
        monotone: the share of images whose reading never rises from one α to the next.
        falling: the share of all steps of all images that do not rise.
    """

    means: list[float]
    rank_correlation: float
    monotone: float
    falling: float


def slider(readings: Float[Tensor, "alphas n"], alphas: Sequence[float]) -> Slider:
    """The readings of ``n`` images at ascending α, judged as a slider that removes an attribute.

    Raises:
        DataError: there are fewer than two α, they do not ascend, the readings are not one row per α, or scipy is not
            installed.
    """
    if len(alphas) < 2 or any(right <= left for left, right in itertools.pairwise(alphas)):
        raise DataError(f"a slider needs at least two ascending strengths, not {list(alphas)}")
    if readings.dim() != 2 or len(readings) != len(alphas) or not readings.shape[1]:
        raise DataError(f"{len(alphas)} strengths came with readings of shape {list(readings.shape)}")
    means = readings.double().mean(1)
    falls, rho = readings.diff(dim=0) <= 0, spearman(means.tolist(), list(alphas))
    return Slider(
        means=means.tolist(),
        rank_correlation=rho if math.isfinite(rho) else 0.0,
        monotone=float(falls.all(0).double().mean()),
        falling=float(falls.double().mean()),
    )


def reading_change(before: Float[Tensor, "n k"], after: Float[Tensor, "n k"]) -> Float[Tensor, " k"]:
    """The mean absolute change of each attribute's reading, image by image.

    Raises:
        DataError: the shapes differ, or there are no images.
    """
    if before.shape != after.shape or not len(before):
        raise DataError(f"readings of shape {list(before.shape)} cannot be compared with {list(after.shape)}")
    return (after - before).double().abs().mean(0).float()
