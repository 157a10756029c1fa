"""Batches that need no padding, or little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def equal_lengths(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Indices in groups of one length and at most ``size``, so that no batch needs padding; the shortest come first."""
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        by_length.setdefault(length, []).append(index)
    for length in sorted(by_length):
        indices = by_length[length]
        for start in range(0, len(indices), size):
            yield indices[start : start + size]


def similar_lengths(lengths: Sequence[int], size: int, slack: float = 1.1) -> Iterator[list[int]]:
    """Indices in groups of at most ``size``, the longest at most ``slack`` times the shortest; the shortest first."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    start = 0
    while start < len(order):
        limit = slack * lengths[order[start]]
        stop = start
        while stop < min(len(order), start + size) and lengths[order[stop]] <= limit:
            stop += 1
        yield order[start:stop]
        start = stop
