"""Packages with the name of a function of the public API: ``mt.audit`` is both, whatever was imported first."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def call_as(package: str, module: str) -> None:
    """Let calls of the package ``package`` go to the function of its name in ``module``."""

    class Callable(ModuleType):
        def __call__(self, *args: Any, **options: Any) -> Any:
            return getattr(import_module(module), package.rpartition(".")[2])(*args, **options)

    sys.modules[package].__class__ = Callable
