"""``--set key=value`` options as the settings of a method."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args, get_type_hints

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.methods.language.problem import LanguageMethod

M = TypeVar("M")


def configured(kind: type[M], pairs: Sequence[str]) -> M:
    """A method with its settings.

    Args:
        kind: a dataclass whose fields are its settings.
        pairs: ``key=value``, the value as YAML: ``0.5``, ``[q_proj, k_proj]``, ``null``, or for a setting that is a
            group of settings, a mapping, as in ``{rank: 8}``; one that is a method has its name among them, as in
            ``{method: npo, epochs: 2}``.

    Raises:
        ConfigurationError: a pair is none, or the method has no such setting, or not of this value.
    """
    import yaml

    given: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.strip():
            raise ConfigurationError(f"--set {pair!r} is no key=value, as in --set epochs=5")
        try:
            given[name.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigurationError(f"--set {pair!r}: {text!r} is no value: {str(error).splitlines()[0]}") from error
    return made(kind, given)


def made(kind: type[M], given: Mapping[str, Any]) -> M:
    """The dataclass with these settings; numbers written as ``1e-5``, which YAML takes for text, are numbers."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    values = {}
    for name, value in given.items():
        if name not in fields:
            there = ", ".join(fields) or "none"
            raise ConfigurationError(f"{_name(kind)} has no setting {name!r}; there are {there}")
        values[name] = _fitting(value, hints[name], _name(kind), name)
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigurationError(f"{_name(kind)}: {error}") from error


def _fitting(value: Any, hint: Any, method: str, name: str) -> Any:
    """The value as the setting's type has it.

    Raises:
        ConfigurationError: it is of another type, or not finite.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    config = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    kinds = get_args(hint) or (hint,)
    group = next((one for one in kinds if isinstance(one, type) and _is_group(one)), None)
    if isinstance(value, Mapping) and group is not None:
        return _method(value, method, name) if issubclass(group, LanguageMethod) else made(group, value)
    if group is hint:
        raise ConfigurationError(f"{method}: {name} must be a mapping, not {value!r}")
    if isinstance(value, str) and float in kinds:
        with contextlib.suppress(ValueError):
            value = float(value)
    plain = {"a valid array": "a list", "an object": "a mapping"}
    try:  # as JSON, in which a tuple may be written as a list, and nothing else be anything else
        found = TypeAdapter(hint, config=config).validate_json(json.dumps(value, default=str))
    except ValidationError as error:
        wanted = [one["msg"].removeprefix("Input should be ") for one in error.errors()]
        wanted = [plain.get(one, one) for one in wanted]
        raise ConfigurationError(
            f"{method}: {name} must be {' or '.join(dict.fromkeys(wanted))}, not {value!r}"
        ) from error
    return tuple(found) if isinstance(found, list) else found


def _is_group(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) or issubclass(kind, LanguageMethod)


def _method(given: Mapping[str, Any], method: str, name: str) -> LanguageMethod:
    """A setting that is a method itself, as the start of a hybrid."""
    from mnemotomy.methods.registry import methods

    known, chosen = methods("language models"), str(given.get("method"))
    if chosen not in known:
        example = f"--set '{name}={{method: npo, epochs: 2}}'"
        raise ConfigurationError(f"{method}: {name} is a method with its name, as in {example}, not {dict(given)}")
    return made(known[chosen], {key: one for key, one in given.items() if key != "method"})


def _name(kind: Any) -> str:
    return str(getattr(kind, "name", kind.__name__))
