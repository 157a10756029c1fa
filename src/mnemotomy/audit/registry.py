"""Every attack by name; an attack in a module of this package needs only ``@register``."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import TypeVar

from mnemotomy.audit.base import PARTS, Attack
from mnemotomy.core.errors import ConfigurationError

A = TypeVar("A", bound=type[Attack])
_found: dict[str, type[Attack]] = {}


def register(kind: A) -> A:
    """Enter an attack under its name; decorates its class.

    Raises:
        ConfigurationError: another attack has that name.
    """
    known = _found.setdefault(kind.name, kind)
    if known is not kind:
        raise ConfigurationError(f"the name {kind.name!r} is taken by {known.__qualname__}; choose another")
    return kind


def attacks() -> dict[str, type[Attack]]:
    """The registered attacks by name, in the order of ``PARTS`` and of their ``rank``."""
    _discover()
    return dict(sorted(_found.items(), key=lambda one: (PARTS.index(one[1].part), one[1].rank, one[0])))


@functools.cache
def _discover() -> None:
    """Import the modules of this package, which register their attacks."""
    package = importlib.import_module("mnemotomy.audit")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
