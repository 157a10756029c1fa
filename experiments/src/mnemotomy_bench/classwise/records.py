"""What the class-wise bench writes."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class Measured(TypedDict):
    """One model: accuracies, Tug-of-War, what is left in the features, membership inference, relearning."""

    forget: float
    retain: float
    test: float
    test_forget: float
    test_retain: float
    tow: float
    da: float
    nmi: float
    cka_original: float
    cka_retrained: float
    membership_accuracy: float
    membership_efficacy: float
    relearned_forget: float
    relearned_retain: float


class Cell(Measured):
    """One configuration or baseline with one seed; without numbers where it ``failed``."""

    failed: str | None
    method: str
    seed: int
    seconds: float
    peak_bytes: int | None
    bfloat16: NotRequired[bool]
    config: NotRequired[dict[str, Any]]
    partner: NotRequired[int]
    flops: NotRequired[int]


class FailedConfiguration(TypedDict):
    """A configuration that broke the model, and why."""

    config: dict[str, Any]
    why: str


class CaseRecord(TypedDict):
    """One method on one case: also the means of its cells' numbers, ``…_spread`` and ``…_gap``."""

    case: str
    method: str
    title: str
    seeds: list[int]
    config: dict[str, Any] | None
    diverged_seeds: list[int]
    settings: dict[str, Any]
    selection: str
    searched: int
    failed: list[FailedConfiguration]
    flops: NotRequired[int]


class GroupRecord(TypedDict):
    """A pretrained model with groups of its classes erased one by one; matrices are by title."""

    model: str
    images: dict[str, int]
    groups: list[str]
    recognition: dict[str, list[dict[str, Any]]]
    before: list[float]
    strengths: dict[str, list[Any]]
    matrices: dict[str, list[list[float]]]
    summary: dict[str, Any]
    versions: dict[str, str]


class ForgetRecord(TypedDict):
    """A pretrained model that ``forget`` was run on: by group, the accuracies afterwards and the search's record."""

    model: str
    trials: int
    images: dict[str, int]
    groups: list[str]
    before: list[float]
    forgotten: dict[str, dict[str, Any]]
    versions: dict[str, str]
