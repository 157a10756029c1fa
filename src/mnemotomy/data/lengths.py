"""Batches that need no padding."""

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
