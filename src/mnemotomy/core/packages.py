"""What registries share: importing the modules of a package, whose classes are declared by a decorator."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Any, TypeVar

C = TypeVar("C", bound=type[Any])


def declared(kind: C, /, **traits: Any) -> C:
    """The class with these class attributes, made a frozen dataclass."""
    for name, value in traits.items():
        setattr(kind, name, value)
    dataclass(frozen=True)(kind)
    return kind


def import_modules(package: str) -> None:
    """Import every module of a package."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
