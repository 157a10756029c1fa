"""The header of a moments file: what it must say besides its tensors."""

from __future__ import annotations

from typing import (
    Any,
    Literal,
    NotRequired,  # pydantic asks for these before Python 3.12
)

from typing_extensions import TypedDict

from mnemotomy.core.artifacts import Artifact


class _Template(TypedDict):
    """``text.template.Template``."""

    system: str | None
    date: str | None
    before_question: str
    after_question: str
    before_answer: str
    plain: NotRequired[bool]


class _Text(TypedDict):
    positions: Literal["answer", "predicting", "all"]
    template: _Template
    max_length: int


class _Origin(TypedDict):
    """``Origin`` as JSON."""

    fingerprint: str
    model: str
    selector: str | list[str]
    layers: list[int] | None
    model_dtype: str
    moment_dtype: str
    text: NotRequired[_Text | None]
    examples: NotRequired[dict[str, int]]


class _Entry(TypedDict):
    key: str
    shape: list[int]
    count: int


class _Header(TypedDict):
    statistics: dict[str, dict[str, _Entry]]
    readers: dict[str, str]
    concepts: list[str]
    origin: _Origin
    progress: dict[str, Any] | None


MOMENTS_FILE = Artifact(
    "mnemotomy-moments", "a moments file; make one with 'mnemotomy collect' or Moments.save", shape=_Header
)
