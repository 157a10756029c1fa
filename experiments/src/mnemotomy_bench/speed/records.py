"""What the speed runs write."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class SpeedRecord(TypedDict):
    """One case: medians of seconds by contender, ratios of them, peak memory in bytes, and the largest difference.

    What only the peer or a single concept has is missing otherwise, and ``ours_to_forward`` in older records.
    """

    case: str
    repeats: int
    seconds: dict[str, float]
    all_seconds: dict[str, list[float]]
    parts: dict[str, dict[str, float]]
    ours_to_floor: float
    ours_to_forward: NotRequired[float]
    peer_to_floor: NotRequired[float]
    ours_to_peer: NotRequired[float]
    peak_extra_bytes: NotRequired[dict[str, int]]
    memory_to_peer: NotRequired[float]
    largest_difference: NotRequired[float]
