"""Fresh probes: whether hidden states tell something about a prompt, read on prompts that the probe was not fitted to.

A probe that the model was trained against proves nothing once it is at chance. These are new: fitted to the final
states, and read on other phrasings or on other questions.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from mnemotomy.core.errors import DataError

Kind = Literal["linear", "two-layer"]
Labels = Sequence[Hashable] | Int[Tensor, " n"]
Array = np.ndarray[Any, np.dtype[Any]]
Hits = np.ndarray[Any, np.dtype[np.bool_]]

MOST_FOLDS = 5


def held_out_hits(
    features: Float[Tensor, "n d"],
    labels: Labels,
    groups: Labels,
    *,
    kind: Kind = "linear",
    seed: int = 0,
    shuffled: bool = False,
) -> Hits:
    """Which rows a probe reads correctly that was fitted without their group.

    Args:
        features: one row per prompt.
        labels: what to read: the answer, or the subject.
        groups: the phrasing of each prompt; the folds are whole phrasings, at most five.
        kind: a logistic regression, or a network with one hidden layer of 64.
        seed: of the permutation and of the network.
        shuffled: permute the labels over the rows: the control.

    Raises:
        DataError: lengths differ, a feature is not finite, there are fewer than two labels or two phrasings, the kind
            is unknown, or scikit-learn is not installed.
    """
    rows, codes, folds = _prepare(features, labels, groups)
    if shuffled:
        codes = np.random.default_rng(seed).permutation(codes)
    with _quietly():
        return _hits(rows, codes, folds, kind, seed, control=shuffled)


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
    codes, phrasings = numbered(labels), numbered(groups)
    if codes.max(initial=0) < 1:
        raise DataError("a probe needs at least two labels to tell apart")
    if phrasings.max(initial=0) < 1:
        raise DataError("a probe needs at least two phrasings, to be fitted on one and read on another")
    split = GroupKFold(fold_count(phrasings)).split(rows, codes, phrasings)
    return rows, codes, list(split)


def numbered(values: Labels) -> Array:
    """Equal values as equal numbers from 0, in the order of their first occurrence."""
    numbers: dict[Hashable, int] = {}
    items = values.tolist() if isinstance(values, Tensor) else values  # two tensors are never one key
    return np.array([numbers.setdefault(value, len(numbers)) for value in items], dtype=np.int64)


def fold_count(phrasings: Array) -> int:
    """How many folds there are."""
    return min(MOST_FOLDS, int(phrasings.max()) + 1)


def _hits(rows: Array, codes: Array, folds: list[tuple[Array, Array]], kind: Kind, seed: int, *, control: bool) -> Hits:
    """The rows that a probe fitted without their fold reads correctly.

    In a ``control``, the permutation may leave one label to fit, which the probe then predicts.
    """
    hits = np.zeros(len(rows), dtype=bool)
    for train, held_out in folds:
        if len(np.unique(codes[train])) < 2:
            if not control:
                raise DataError("almost all phrasings have only one label; ask about every subject in every phrasing")
            hits[held_out] = codes[held_out] == codes[train][0]
            continue
        seen, unseen = _scaled(rows[train], rows[held_out])
        probe = _probe(kind, seed).fit(seen, codes[train])
        hits[held_out] = probe.predict(unseen) == codes[held_out]
    return hits


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
        # finds the same optimum as L-BFGS, whose steps get small where directions of states differ much in size
        return LogisticRegression(C=1.0, solver="newton-cg", max_iter=1000)
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
