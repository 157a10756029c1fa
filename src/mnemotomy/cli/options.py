"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import enum
import functools
import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnemotomy.core.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from mnemotomy.core.settings import Choice

LARGEST_SEED = 2**63 - 1


class PrecisionName(enum.StrEnum):
    """The precision of forward passes."""

    AUTO = "auto"
    NO = "no"
    BF16 = "bf16"


class PositionsName(enum.StrEnum):
    """Which tokens enter the moments."""

    ANSWER = "answer"
    PREDICTING = "predicting"
    ALL = "all"


Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda or cuda:1.")]
Model = Annotated[str, typer.Argument(help="A local folder (an adapter's too), a .gguf file, or a hub id.")]
OutDir = Annotated[Path, typer.Argument(help="The folder to write; the result of an earlier run is replaced.")]


def _trust(context: typer.Context, wanted: bool) -> bool:
    if wanted:
        from mnemotomy.core.models import trusting_code

        context.with_resource(trusting_code())
    return wanted


TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        callback=_trust,
        help="Run the Python code that comes with a model; it can do anything that you can, so read it first.",
    ),
]
"""Every model of the command is then loaded so; the command itself need not look at it."""
Force = Annotated[
    bool, typer.Option("--force", help="Continue where the edit is likely to ruin the model, or has forgotten nothing.")
]
Resume = Annotated[bool, typer.Option(help="Resume an interrupted run of the same command.")]
Precise = Annotated[
    PrecisionName,
    typer.Option("--precision", help="bf16 (autocast), no, or auto: bf16 where the device is fast at it."),
]


def with_options(
    build: Callable[..., Any], name: str, *, lazy: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of ``build`` in place of its parameter ``name``, except those that it has itself.

    The parameter gets what ``build`` returns; where it is lazy, a function of no arguments that calls ``build``.
    """

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        own, shared = (inspect.signature(one, eval_str=True).parameters for one in (command, build))

        @functools.wraps(command)
        def run(**given: Any) -> None:
            made = functools.partial(build, **{key: given[key] for key in shared if key in given})
            command(**{key: given[key] for key in own if key in given}, **{name: made if lazy else made()})

        added = [one for key, one in shared.items() if key not in own]
        parameters = [
            one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for key, parameter in own.items()
            for one in (added if key == name else [parameter])
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return wrap


def concept_files(pairs: Iterable[str], reference: list[Path]) -> dict[str, list[Path]]:
    """The files of each concept from its ``NAME=FILE`` options, the reference last.

    Raises:
        DataError: an option is not such a pair, or uses the name of the reference.
    """
    from mnemotomy.text.records import REFERENCE

    files: dict[str, list[Path]] = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not (name.strip() and equals and file):
            raise DataError(f"--concept {pair!r} is not NAME=FILE, as in --concept alice=alice.jsonl")
        if name == REFERENCE:
            raise DataError(f"--concept {pair!r}: give the reference with --reference FILE")
        files.setdefault(name, []).append(Path(file))
    return {**files, **({REFERENCE: reference} if reference else {})}


def selector(text: str) -> str | tuple[str, ...]:
    """Names separated by commas as a tuple of suffixes; ``all-linear``, ``all`` or a regular expression unchanged."""
    if text not in ("all", "all-linear") and re.fullmatch(r"[\w.-]+(,[\w.-]+)*", text):
        return tuple(text.split(","))
    return text


def blocks(text: str | None) -> tuple[int, ...] | None:
    """The numbers of blocks in ``0-3,7``.

    Raises:
        DataError: it is not such a list.
    """
    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if (
            match is None
            or max(map(len, filter(None, match.groups()))) > 5
            or int(match[2] or match[1]) < int(match[1])
        ):
            raise DataError(f"--layers {text!r}: give block numbers and ranges, as in 0-3,7")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(dict.fromkeys(found))


def choice(text: str, among: Choice) -> Any:
    """The cut of ``relative=1e-6``, or the filter of ``hard``.

    Raises:
        ConfigurationError: the kind is unknown, or does not take the value.
    """
    try:
        return among.parse(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"--{among.what} {text!r}: {error}") from error


def settings(pairs: Iterable[str]) -> dict[str, Any]:
    """``--set key=value`` options; each value is read as YAML: ``0.5``, ``[q_proj, k_proj]``, ``null``, ``{rank: 8}``.

    Raises:
        ConfigurationError: an option is not such a pair, or its value is not YAML.
    """
    from mnemotomy.core.yaml import read_yaml

    given: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ConfigurationError(f"--set {pair!r} is not key=value, as in --set epochs=5")
        if name in ("name", "method"):
            raise ConfigurationError(f"--set {pair!r}: the method is chosen by --method")
        if name in given:
            raise ConfigurationError(f"--set {name}=... is given twice; give it once")
        try:
            given[name] = read_yaml(text)
        except DataError as error:
            raise ConfigurationError(f"--set {pair!r}: {text!r} is not a value: {error}") from error
    return given
