"""What the generative bench writes; errors are mean squared errors per pixel."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class Measured(TypedDict):
    """One model that was to forget a digit: its error on each digit, the similarity of its codes, what it draws."""

    digit: int
    by_class: list[float]
    cka_own: float
    cka_others: float
    cka_retrained: float | None
    pixels: Any


class Cell(Measured):
    """One digit forgotten by one method on one seed; without numbers where it ``failed``."""

    failed: str | None
    seconds: float
    config: NotRequired[dict[str, Any]]


class Damage(TypedDict):
    """How much worse the digit is drawn, and the others; ``selectivity`` is the ratio of both rises."""

    own: float
    others: float
    own_rise: float
    others_rise: float
    worst_rise: float
    own_factor: float
    others_factor: float
    selectivity: float | None


class Failed(TypedDict):
    """A digit that has no numbers on a seed, and why."""

    seed: int
    digit: int
    why: str


class DigitsRecord(TypedDict):
    """One method on one case: also the means over the seeds, and ``…_spread``."""

    case: str
    method: str
    title: str
    seeds: list[int]
    by_class: list[list[float]]
    digits: list[int]
    chosen: list[dict[str, Any]]
    failed: list[Failed]
    settings: dict[str, Any]


class FacesRecord(TypedDict):
    """One method on one case of faces: also the means over the seeds, ``…_spread`` and ``…_<attribute>``."""

    case: str
    method: str
    title: str
    seeds: list[int]
    selection: str
    settings: dict[str, Any] | None
    attributes: dict[str, Any]
    curves: Any
    arithmetic: dict[str, Any] | None
    classifier: dict[str, Any]
    alphas: list[float]
    config: dict[str, Any]


GenerativeRecord = DigitsRecord | FacesRecord
