"""What fresh probes read at every layer: which fact a prompt is about (Section 5.2, Table 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.metrics.fresh_probe import Kind, Labels, fold_count, held_out_hits, numbered


class LayerReading(TypedDict):
    """What fresh probes read at one layer, as shares of the prompts; ``shuffled`` is the linear probe's control."""

    layer: int
    linear: float
    two_layer: float
    chance: float
    shuffled: float


@dataclass(frozen=True)
class ProbeReading:
    """The readings of one kind of probe on one set of features; all but the folds are shares of the rows.

    Attributes:
        accuracy: on phrasings that the probe was not fitted to; every row is read once.
        chance: the share of the most frequent label, which is 1 / labels if all are equally frequent.
        shuffled: the accuracy with labels permuted over the rows: the control.
        folds: number of probes, each tested on a part of the rows.
    """

    accuracy: float
    chance: float
    shuffled: float
    folds: int


def fresh_probe(
    features: Float[Tensor, "n d"],
    labels: Labels,
    groups: Labels,
    *,
    kind: Kind = "linear",
    seed: int = 0,
) -> ProbeReading:
    """Fit probes on some phrasings and read them on the others.

    Arguments and errors as for ``held_out_hits``.
    """
    accuracy, shuffled = (
        float(held_out_hits(features, labels, groups, kind=kind, seed=seed, shuffled=control).mean())
        for control in (False, True)
    )
    codes, phrasings = numbered(labels), numbered(groups)
    return ProbeReading(accuracy, float(np.bincount(codes).max() / len(codes)), shuffled, fold_count(phrasings))


def without_phrasing(features: Float[Tensor, "n d"], groups: Labels) -> Float[Tensor, "n d"]:
    """The features less the mean of their phrasing, scaled to unit variance: what tells subjects apart, magnified.

    A stronger attack than a plain probe: it finds differences that are small against those between phrasings. It needs
    many subjects asked with the same phrasing.
    """
    found, phrasings = features.detach().double().cpu().clone(), torch.as_tensor(numbered(groups))
    for number in phrasings.unique():
        found[phrasings == number] -= found[phrasings == number].mean(0)
    return found / found.std().clamp_min(1e-300)


def decodability(
    hidden: Float[Tensor, "layers n d"],
    labels: Labels,
    groups: Labels,
    *,
    seed: int = 0,
) -> list[LayerReading]:
    """What fresh probes of both kinds read at every layer.

    Returns:
        One record per layer, ``layer`` its index in ``hidden``. A table with ``pandas.DataFrame(records)``.

    Raises:
        DataError: as ``fresh_probe``.
    """
    records: list[LayerReading] = []
    for layer, features in enumerate(hidden):
        linear = fresh_probe(features, labels, groups, seed=seed)
        two_layer = held_out_hits(features, labels, groups, kind="two-layer", seed=seed)
        records.append(
            {
                "layer": layer,
                "linear": linear.accuracy,
                "two_layer": float(two_layer.mean()),
                "chance": linear.chance,
                "shuffled": linear.shuffled,
            }
        )
    return records
