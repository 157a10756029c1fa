"""What a fresh probe reads: whether a hidden state still tells which fact a prompt is about (Section 5.2, Table 1).

A probe that the model was trained against proves nothing once it is at chance. These probes are new: fitted to the
final states and tested on unseen phrasings, at every layer.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from mnemotomy.core.errors import DataError

Kind = Literal["linear", "two-layer"]
Labels = Sequence[Hashable] | Int[Tensor, " n"]
Array = np.ndarray[Any, np.dtype[Any]]

MOST_FOLDS = 5


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

    Args:
        features: one row per prompt.
        labels: what to read: the answer, or the subject.
        groups: the phrasing of each prompt; the folds are whole phrasings, at most five.
        kind: a logistic regression, or a network with one hidden layer of 64.
        seed: of the permutation and of the network.

    Raises:
        DataError: lengths differ, a feature is not finite, there are fewer than two labels or two phrasings, the kind
            is unknown, or scikit-learn is not installed.
    """
    rows, codes, folds = _prepare(features, labels, groups)
    shuffled = np.random.default_rng(seed).permutation(codes)
    with _quietly():
        return ProbeReading(
            accuracy=_accuracy(rows, codes, folds, kind, seed),
            chance=_chance(codes),
            shuffled=_accuracy(rows, shuffled, folds, kind, seed, control=True),
            folds=len(folds),
        )


def without_phrasing(features: Float[Tensor, "n d"], groups: Labels) -> Float[Tensor, "n d"]:
    """The features less the mean of their phrasing, scaled to unit variance: what tells subjects apart, magnified.

    A stronger attack than a plain probe: it finds differences that are small against those between phrasings. It needs
    many subjects asked with the same phrasing.
    """
    rows, phrasings = features.detach().double().cpu(), _numbered(groups)
    found = rows.clone()
    for number in range(int(phrasings.max()) + 1):
        found[phrasings == number] -= rows[phrasings == number].mean(0)
    return found / found.std().clamp_min(1e-300)


def decodability(
    hidden: Float[Tensor, "layers n d"],
    labels: Labels,
    groups: Labels,
    *,
    seed: int = 0,
) -> list[dict[str, float]]:
    """What fresh probes of both kinds read at every layer.

    Returns:
        One record per layer: ``layer`` (its index in ``hidden``), ``linear``, ``two_layer``, ``chance`` and
        ``shuffled``, the last for the linear probe. A table with ``pandas.DataFrame(records)``.

    Raises:
        DataError: as ``fresh_probe``.
    """
    records = []
    for layer, features in enumerate(hidden):
        linear = fresh_probe(features, labels, groups, seed=seed)
        rows, codes, folds = _prepare(features, labels, groups)
        with _quietly():
            two_layer = _accuracy(rows, codes, folds, "two-layer", seed)
        records.append(
            {
                "layer": layer,
                "linear": linear.accuracy,
                "two_layer": two_layer,
                "chance": linear.chance,
                "shuffled": linear.shuffled,
            }
        )
    return records


def _prepare(features: Tensor, labels: Labels, groups: Labels) -> tuple[Array, Array, list[tuple[Array, Array]]]:
    """Rows in float64, labels as numbers, and the (training, held-out) indices of each fold."""
    try:
        from sklearn.model_selection import GroupKFold
    except ImportError as error:
        raise DataError("fresh probes need scikit-learn: pip install scikit-learn") from error
    rows = features.detach().double().cpu().numpy()
    if not len(rows) == len(labels) == len(groups):
        raise DataError(f"{len(rows)} rows of features came with {len(labels)} labels and {len(groups)} groups")
    if not np.isfinite(rows).all():
        raise DataError("a hidden state is NaN or infinite; there is nothing to read from this model")
    codes, phrasings = _numbered(labels), _numbered(groups)
    if codes.max(initial=0) < 1:
        raise DataError("a probe needs at least two labels to tell apart")
    if phrasings.max(initial=0) < 1:
        raise DataError("a probe needs at least two phrasings, to be fitted on one and read on another")
    split = GroupKFold(min(MOST_FOLDS, int(phrasings.max()) + 1)).split(rows, codes, phrasings)
    return rows, codes, list(split)


def _numbered(values: Labels) -> Array:
    """Equal values as equal numbers from 0, in the order of their first occurrence."""
    numbers: dict[Hashable, int] = {}
    items = values.tolist() if isinstance(values, Tensor) else values  # two tensors are never one key
    return np.array([numbers.setdefault(value, len(numbers)) for value in items], dtype=np.int64)


def _chance(codes: Array) -> float:
    return float(np.bincount(codes).max() / len(codes))


def _accuracy(
    rows: Array, codes: Array, folds: list[tuple[Array, Array]], kind: Kind, seed: int, *, control: bool = False
) -> float:
    """The share of the rows that a probe fitted without their fold reads correctly.

    In a ``control``, the permutation may leave one label to fit, which the probe then predicts.
    """
    hits = 0
    for train, held_out in folds:
        if len(np.unique(codes[train])) < 2:
            if control:
                hits += int((codes[held_out] == codes[train][0]).sum())
                continue
            raise DataError("almost all phrasings have only one label; ask about every subject in every phrasing")
        seen, unseen = _scaled(rows[train], rows[held_out])
        probe = _probe(kind, seed).fit(seen, codes[train])
        hits += int((probe.predict(unseen) == codes[held_out]).sum())
    return hits / len(rows)


def _scaled(seen: Array, unseen: Array) -> tuple[Array, Array]:
    """Both standardised by the rows seen, and in a basis of their span if that is smaller.

    The basis changes nothing for the linear probe: with a penalty on the norm, its weights lie in that span.
    """
    mean, spread = seen.mean(axis=0), seen.std(axis=0)
    spread[spread <= 1e-7 * np.abs(mean)] = 1.0  # constant up to float32 rounding, which must not be amplified
    seen, unseen = (seen - mean) / spread, (unseen - mean) / spread
    if seen.shape[1] <= len(seen):
        return seen, unseen
    basis = np.linalg.svd(seen, full_matrices=False)[2].T
    return seen @ basis, unseen @ basis


def _probe(kind: Kind, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    if kind == "linear":
        return LogisticRegression(C=1.0, max_iter=1000)
    if kind == "two-layer":
        return MLPClassifier((64,), solver="lbfgs", alpha=1e-3, max_iter=300, random_state=seed)
    raise DataError(f"unknown kind of probe {kind!r}; choose 'linear' or 'two-layer'")


@contextmanager
def _quietly() -> Iterator[None]:
    """One thread, since these matrices are too small for more, and no warnings about probes that still improve."""
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
