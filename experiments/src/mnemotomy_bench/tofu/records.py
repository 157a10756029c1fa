"""What the TOFU bench writes."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class Named(TypedDict):
    """A configuration of a method and a seed."""

    method: str
    config: dict[str, Any]
    configuration: str
    seed: int
    versions: dict[str, str]


class Treated(Named):
    """One run: its seconds, memory and folder, or why it ``failed``."""

    failed: str | None
    seconds: NotRequired[float]
    peak_bytes: NotRequired[int | None]
    folder: NotRequired[str]


class Scored(TypedDict):
    """The columns of Table 6 that every row has (the others are those of ``Scores``), and the raw aggregates."""

    overall: float
    memorization: float
    utility: float
    privacy: float
    forget_quality: float
    raw: dict[str, float]


class Evaluated(Treated, Scored):
    """One run with its row; without the row where it failed."""


class Validated(Named):
    """A configuration judged without the gold model; 0 where it broke the model."""

    failed: str | None
    score: float
    forgetting: NotRequired[float]
    utility: NotRequired[float]
    privacy: NotRequired[float]


class Searched(TypedDict):
    """One configuration of a search."""

    config: dict[str, Any]
    chosen_by: float
    failed: str | None
    score: NotRequired[float]
    forgetting: NotRequired[float | None]
    utility: NotRequired[float | None]
    privacy: NotRequired[float | None]


class Swept(Scored):
    """One setting of a sweep; without numbers where it failed."""

    sweep: str
    title: str
    value: Any
    pair: str
    method: str
    family: str
    config: dict[str, Any]
    configuration: str
    selection: str
    versions: dict[str, str]
    failed: str | None


class Referred(Evaluated):
    """One configuration with the retain set, or with texts that the model wrote."""

    title: str
    reference: str
    family: str
    pair: str


class Layer(TypedDict):
    """A projection of Figure 9."""

    site: str
    layer: int | None
    kind: str
    weight_norm: float | None


class Failed(TypedDict):
    """A seed that has no numbers, and why."""

    seed: int | None
    why: str


class Titled(TypedDict):
    """What a record is about."""

    method: str
    title: str
    pair: str
    forget: str
    precision: str
    subject: str


class TofuRecord(Titled):
    """One method on one pair, in ``tofu.json``: also the means of `Scored` and of attacks, and ``…_spread``."""

    family: str
    selection: str
    seeds: list[int]
    failed: list[Failed]
    paper: NotRequired[str]
    config: NotRequired[dict[str, Any]]
    configuration: NotRequired[str]
    searched: NotRequired[list[Searched]]
    flops: NotRequired[int | None]
    versions: NotRequired[dict[str, str]]
