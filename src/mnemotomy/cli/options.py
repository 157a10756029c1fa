"""Options that several commands share, and what their values mean."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.text.records import REFERENCE

if TYPE_CHECKING:
    from mnemotomy.core.settings import Choice

LARGEST_SEED = 2**63 - 1


class PrecisionName(enum.StrEnum):
    """Of forward passes."""

    AUTO = "auto"
    NO = "no"
    BF16 = "bf16"


class PositionsName(enum.StrEnum):
    """Of the tokens that enter the moments."""

    ANSWER = "answer"
    PREDICTING = "predicting"
    ALL = "all"


Precise = Annotated[
    PrecisionName, typer.Option("--precision", help="bf16 autocast, no, or auto: bf16 where the device has it.")
]


def concept_files(pairs: Iterable[str], reference: list[Path]) -> dict[str, list[Path]]:
    """``NAME=FILE`` options as the files of each concept, the reference last.

    Raises:
        DataError: an option is no such pair, or takes the reference's name.
    """
    files: dict[str, list[Path]] = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not (name.strip() and equals and file):
            raise DataError(f"--concept {pair!r} is no NAME=FILE, as in --concept alice=alice.jsonl")
        if name == REFERENCE:
            raise DataError(f"--concept {pair!r}: give what is to stay with --reference FILE")
        files.setdefault(name, []).append(Path(file))
    return {**files, **({REFERENCE: reference} if reference else {})}


def selector(text: str) -> str | tuple[str, ...]:
    """``all-linear``, ``all`` or a regular expression as it is; plain names, separated by commas, as suffixes."""
    if text not in ("all", "all-linear") and re.fullmatch(r"[\w.-]+(,[\w.-]+)*", text):
        return tuple(text.split(","))
    return text


def blocks(text: str | None) -> tuple[int, ...] | None:
    """``0-3,7`` as numbers of blocks.

    Raises:
        DataError: it is no such list.
    """
    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise DataError(f"--layers {text!r}: give numbers of blocks and ranges, as in 0-3,7")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(dict.fromkeys(found))


def choice(text: str, among: Choice) -> Any:
    """``relative=1e-6`` as a cut, ``hard`` as a filter.

    Raises:
        ConfigurationError: an unknown kind, or a value that it does not take.
    """
    try:
        return among.parse(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"--{among.what} {text!r}: {error}") from error


def settings(pairs: Iterable[str]) -> dict[str, Any]:
    """``--set key=value`` options, each value as YAML: ``0.5``, ``[q_proj, k_proj]``, ``null``, ``{rank: 8}``.

    Raises:
        ConfigurationError: an option is no such pair.
    """
    from mnemotomy.core.yaml import read_yaml

    given: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ConfigurationError(f"--set {pair!r} is not key=value, as in --set epochs=5")
        try:
            given[name] = read_yaml(text)
        except DataError as error:
            raise ConfigurationError(f"--set {pair!r}: {text!r} is not a value: {error}") from error
    return given
