"""Settings in one syntax for the command line, recipes and JSON, checked by pydantic's discriminated unions.

A `Choice` is a registry of frozen dataclasses: the cuts, the filters, the methods. A member is written as its name
(``hard``), as its name with its first setting (``hard=0.5``), or as a mapping (``{kind: hard, threshold: 0.5}``).
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import (  # pydantic asks for these before Python 3.12
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
    WrapValidator,
    with_config,
)
from typing_extensions import TypedDict

from mnemotomy.core.errors import ConfigurationError, DataError, MnemotomyError
from mnemotomy.core.yaml import read_yaml

_LARGEST = 2**63 - 1  # of a whole number; torch takes no larger one
_CONFIG = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several frozen dataclasses, whose fields are its settings.

    Attributes:
        what: the word for a member, such as ``filter``.
        kinds: the dataclasses by name.
        key: the entry of a mapping that gives the name; ``what`` is accepted too.
        base: the common base class, if settings of a member may be other members.
    """

    what: str
    kinds: Mapping[str, type[Any]]
    key: str = "kind"
    base: type[Any] | None = None

    def parse(self, value: Any) -> Any:
        """The instance that ``value`` describes, as read from YAML, JSON or an option.

        Raises:
            ConfigurationError: the kind or a setting is unknown, or a value is not allowed.
        """
        try:
            return TypeAdapter(self.annotation()).validate_python(value)
        except ValidationError as error:
            raise ConfigurationError(explain(error)) from error

    def describe(self, value: Any) -> dict[str, Any]:
        """The inverse of ``parse``: a mapping for JSON, with every setting."""
        for name, kind in self.kinds.items():
            if type(value) is kind:
                return {self.key: name, **self._settings(value)}
        return {self.key: repr(value)}

    def annotation(self) -> Any:
        """The type of a pydantic field that contains a member."""
        return self._union(self.kinds)

    def group(self, kind: type[Any]) -> Any:
        """The type of a field that contains the dataclass ``kind``, whose own settings may be members."""
        checked = WrapValidator(lambda value, check: value if type(value) is kind else check(value))
        return Annotated[self._group(kind, {}), checked, PlainSerializer(self._settings)]

    def _union(self, kinds: Mapping[str, type[Any]], *, by_name: bool = True) -> Any:
        key = self.key
        members = tuple(self._group(kind, {key: Required[Literal[name]]}, key) for name, kind in kinds.items())
        union = Annotated[Union[members], Field(discriminator=self.key)] if len(members) > 1 else members[0]  # noqa: UP007
        known = tuple(kinds.values())

        def written_out(value: Any, check: Callable[[Any], Any]) -> Any:
            return value if type(value) in known else check(self._mapping(value, kinds, by_name))

        return Annotated[union, WrapValidator(written_out), PlainSerializer(self.describe)]

    def _mapping(self, value: Any, kinds: Mapping[str, type[Any]], by_name: bool) -> dict[str, Any]:
        """A short form as a mapping."""
        if isinstance(value, str) and by_name:
            value = _long_form(value, kinds, self.key)
        if isinstance(value, Mapping) and self.key not in value and self.what in value:
            value = {self.key if name == self.what else name: one for name, one in value.items()}
        kind = value.get(self.key) if isinstance(value, Mapping) else value
        if not isinstance(kind, str) or kind not in kinds or not isinstance(value, Mapping):
            raise ValueError(f"unknown {self.what} {kind!r}; choose one of {', '.join(kinds)}")
        return dict(value)

    def _group(self, kind: type[Any], fixed: Mapping[str, Any], key: str | None = None) -> Any:
        """The type of a dataclass that is checked as a mapping and then constructed."""
        hints = get_type_hints(kind)
        fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
        needed = [
            name for name, field in fields.items() if field.default is field.default_factory is dataclasses.MISSING
        ]
        kinds: dict[str, Any] = {
            name: (Required if name in needed else NotRequired)[self._type(hints[name], kind)] for name in fields
        }
        shape = with_config(_CONFIG)(TypedDict(kind.__name__, {**fixed, **kinds}))  # type: ignore[operator]

        def check(value: Any) -> Any:
            if isinstance(value, Mapping):
                for name in value:
                    if name != key and name not in fields:
                        raise ValueError(_unknown(name, list(fields)))
                for name in needed:
                    if name not in value:
                        raise ValueError(f"needs {name!r}")
            return value

        def made(values: dict[str, Any]) -> Any:
            try:
                return kind(**{name: one for name, one in values.items() if name != key})
            except MnemotomyError as error:
                raise ValueError(str(error)) from error

        return Annotated[shape, BeforeValidator(check), AfterValidator(made)]

    def _type(self, hint: Any, owner: type[Any]) -> Any:
        """A field's type as pydantic checks it: tuples are read from lists, groups of settings from mappings."""
        origin, inner = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):
            named = str in inner
            return Union[tuple(self._choice(one, owner, by_name=not named) for one in inner)]  # noqa: UP007
        if origin in (tuple, Sequence):
            return Annotated[list[self._type(inner[0], owner)], AfterValidator(tuple)]  # type: ignore[misc]
        return self._choice(hint, owner, by_name=True)

    def _choice(self, hint: Any, owner: type[Any], *, by_name: bool) -> Any:
        if self.base is not None and isinstance(hint, type) and issubclass(hint, self.base):
            others = {name: kind for name, kind in self.kinds.items() if kind is not owner and issubclass(kind, hint)}
            return self._union(others, by_name=by_name)
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            return self.group(hint)
        if hint is int:
            return Annotated[int, Field(ge=-_LARGEST, le=_LARGEST)]
        return hint if not get_args(hint) or get_origin(hint) is Literal else self._type(hint, owner)

    def _settings(self, value: Any) -> dict[str, Any]:
        return {field.name: self._plain(getattr(value, field.name)) for field in dataclasses.fields(value)}

    def _plain(self, value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self.describe(value) if type(value) in self.kinds.values() else self._settings(value)
        if isinstance(value, Mapping):
            return {name: self._plain(one) for name, one in value.items()}
        return [self._plain(one) for one in value] if isinstance(value, list | tuple) else value


def group(kind: type[Any]) -> Any:
    """The type of a pydantic field that contains a dataclass, written as a mapping of its settings."""
    return Choice("", {}).group(kind)


def explain(error: ValidationError, fields: Sequence[str] = ()) -> str:
    """The first problem in one line, and the number of others.

    Args:
        error: from any pydantic model.
        fields: of the model, to list if one is unknown.
    """
    groups: dict[Any, list[Any]] = {}
    for problem in error.errors(include_url=False):
        groups.setdefault(problem["loc"][:1], []).append(problem)
    first, *others = groups.values()
    return _in_words(first, fields) + (f" (and {len(others)} more)" if others else "")


def _in_words(problems: list[Any], fields: Sequence[str]) -> str:
    """Problems of one field: several come from the members of a union, and our own messages go first."""
    own = [problem for problem in problems if problem["type"] == "value_error"]
    problems = own[:1] or problems
    loc = problems[0]["loc"]
    if len(problems) > 1:  # the members of the union differ
        levels = zip(*(problem["loc"] for problem in problems), strict=False)
        loc = tuple(level[0] for level in itertools.takewhile(lambda level: len(set(level)) == 1, levels))
    where = ".".join(str(part) for part in loc if "[" not in str(part))
    kind, message = problems[0]["type"], problems[0]["msg"]
    if kind == "extra_forbidden":
        return _unknown(str(loc[-1]), fields, "field")
    if kind == "missing":
        return f"the field {where!r} is missing"
    if kind in ("value_error", "assertion_error"):
        message = message.partition(", ")[2]
        return f"{where}: {message}" if where else message
    wanted = [problem["msg"].removeprefix("Input should be ") for problem in problems]
    plain = {"a valid list": "a list", "a valid tuple": "a list", "a valid dictionary": "a mapping"}
    wanted = [plain.get(one, one) for one in wanted]
    return f"{where or 'it'} must be {' or '.join(dict.fromkeys(wanted))}, not {problems[0]['input']!r}"


def _unknown(name: str, there: Sequence[str], what: str = "setting") -> str:
    close = difflib.get_close_matches(name, there, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown {what} {name!r}; {hint}known: {', '.join(there) or 'none'}"


def _long_form(text: str, kinds: Mapping[str, type[Any]], key: str) -> Any:
    """``hard``, ``hard=0.5`` or ``{kind: hard, ...}`` as a mapping."""
    try:
        if text.lstrip().startswith("{"):
            return read_yaml(text)
        name, equals, value = text.partition("=")
        if not equals or name not in kinds:
            return {key: name if name in kinds else text}
        settings = [field.name for field in dataclasses.fields(kinds[name])]
        if not settings:
            raise ValueError(f"{name!r} takes no value")
        return {key: name, settings[0]: read_yaml(value)}
    except DataError as error:
        raise ValueError(str(error)) from error
