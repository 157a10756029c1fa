"""Cases and grids are data: YAML files in ``mnemotomy_bench/cases``, checked by pydantic as they are read."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any, Generic, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.yaml import read_yaml

STRICT = ConfigDict(extra="forbid")
"""For dataclasses that are read from a file: unknown fields are refused."""

T = TypeVar("T")


class Cases(Generic[T]):
    """The content of ``cases/<name>.yaml``: ``cases`` by name, and under ``scales`` the cases of each scale.

    ``like: <name>`` in a case copies the settings of another case.

    Args:
        name: of the file.
        kind: a pydantic dataclass with the fields ``name`` and ``seeds``.
    """

    def __init__(self, name: str, kind: type[T]) -> None:
        self.name, self.kind = name, kind

    def __getitem__(self, name: str) -> T:
        return validated(self.kind, {"name": name, **self._settings(name)}, f"{self.name}.yaml, {name}")

    def at(self, scale: str, seeds: Sequence[int] | None = None) -> tuple[T, ...]:
        """The cases of a scale, with these seeds or their own.

        Raises:
            ConfigurationError: there is no such scale.
        """
        found = tuple(self[name] for name in at_scale(document(self.name)["scales"], scale))
        return tuple(replace(cast(Any, case), seeds=tuple(seeds)) for case in found) if seeds else found

    def _settings(self, name: str) -> dict[str, Any]:
        own = dict(document(self.name)["cases"][name])
        like = own.pop("like", None)
        return own if like is None else {**self._settings(like), **own}


def at_scale(scales: Mapping[str, T], scale: str) -> T:
    """The entry of a scale.

    Raises:
        ConfigurationError: there is no such scale.
    """
    if scale not in scales:
        raise ConfigurationError(f"there is no scale {scale!r}; choose among {', '.join(scales)}")
    return scales[scale]


@functools.cache
def document(name: str) -> Mapping[str, Any]:
    """The content of ``cases/<name>.yaml``."""
    text = files("mnemotomy_bench").joinpath("cases", f"{name}.yaml").read_text(encoding="utf-8")
    found: Mapping[str, Any] = read_yaml(text)
    return found


def validated(kind: Any, value: Any, where: str) -> Any:
    """``value`` as a type.

    Raises:
        ConfigurationError: it is not valid.
    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise ConfigurationError(f"{where}: {place}: {problem['msg']}, not {problem['input']!r}") from error
