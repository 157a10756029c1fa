"""Summaries over seeds: means, and ``…_spread`` for the standard deviation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.metrics.interval import averaged


def over_seeds(cells: Sequence[Mapping[str, Any]], keys: Iterable[str]) -> Record:
    """The mean of each key over the cells that have a number, None if none has."""
    found: Record = {}
    for key in keys:
        found |= averaged(cells, key)
    return found


def numbers(cell: Mapping[str, Any]) -> list[str]:
    """The keys of a cell's numbers; the seed does not count as one."""
    return [
        key
        for key, value in cell.items()
        if key != "seed" and isinstance(value, int | float) and not isinstance(value, bool)
    ]


def mean_tree(trees: Sequence[Any]) -> Any:
    """The mean of every number in trees of one shape; None if one tree lacks the number."""
    first = trees[0]
    if isinstance(first, Mapping):
        return {key: mean_tree([tree[key] for tree in trees]) for key in first}
    if isinstance(first, list):
        return [mean_tree(list(values)) for values in zip(*trees, strict=True)]
    if any(tree is None for tree in trees):
        return None
    return sum(trees) / len(trees)
