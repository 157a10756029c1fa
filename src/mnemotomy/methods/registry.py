"""Every unlearning method by name; a method in a module of its package needs only ``@register(...)``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, dataclass_transform, overload

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.packages import declared, import_modules
from mnemotomy.core.settings import Choice
from mnemotomy.methods.base import Method, Models, SearchSpace

if TYPE_CHECKING:
    from mnemotomy.methods.classifiers.problem import ClassifierMethod
    from mnemotomy.methods.language.problem import LanguageMethod

PACKAGES: dict[Models, str] = {
    "classifiers": "mnemotomy.methods.classifiers",
    "language models": "mnemotomy.methods.language",
}
TABLES: dict[Models, tuple[str, ...]] = {
    "classifiers": (
        "retrain", "fine-tune", "neggrad", "neggrad-plus", "l1-sparse", "random-label", "salun", "engram",
        "engram-grid", "engram-recalibrated", "engram-outputs", "engram-projector", "engram-automatic", "two-sided",
    ),
    "language models": (
        "gradient-ascent", "grad-diff", "idk-nll", "idk-dpo", "undial", "rmu", "npo", "simnpo", "alt-po", "rlcp",
        "task-arithmetic", "uce", "engram-uniform", "engram-weight-norm", "delta-weights", "delta-sequential",
        "engram-filtered", "engram-projector", "engram-steep", "engram-automatic", "engram-layerwise", "two-sided",
    ),
}  # fmt: skip
"""The order of methods in tables, as in arXiv 2606.14997; other methods follow."""

Space = Mapping[str, Sequence[Any]]
M = TypeVar("M", bound=type[Method[Any]])
_found: dict[Models, dict[str, type[Method[Any]]]] = {models: {} for models in PACKAGES}


@dataclass_transform(frozen_default=True)
def register(
    name: str, title: str, paper: str, *, grid: Space | None = None, small: Space | None = None, **traits: Any
) -> Callable[[M], M]:
    """Make a class a method of that name: a frozen dataclass with these traits (``cost``, ``draws``, ...).

    Args:
        name: on the command line, in recipes and records.
        title: in tables.
        paper: where the method comes from.
        grid: the search space, the published values; by default that of the class above.
        small: for language models with a few million parameters.
        traits: other attributes of ``Method``.

    Raises:
        ConfigurationError: another method for these models has that name.
    """

    def enter(kind: M) -> M:
        known = _found[kind.models].setdefault(name, kind)
        if known is not kind:
            raise ConfigurationError(
                f"the name {name!r} for {kind.models} is taken by {known.__qualname__}; choose another"
            )
        if grid is not None or small is not None:
            traits["search_space"] = SearchSpace(kind.search_space.paper if grid is None else grid, small)
        return declared(kind, name=name, title=title, paper=paper, **traits)

    return enter


@overload
def methods(models: Literal["classifiers"]) -> dict[str, type[ClassifierMethod]]: ...
@overload
def methods(models: Literal["language models"]) -> dict[str, type[LanguageMethod]]: ...
def methods(models: Models) -> dict[str, Any]:
    """The registered methods for these models by name, in the order of ``TABLES``; not a copy."""
    _discover(models)
    return _found[models]


@overload
def method_named(models: Literal["classifiers"], name: str) -> type[ClassifierMethod]: ...
@overload
def method_named(models: Literal["language models"], name: str) -> type[LanguageMethod]: ...
def method_named(models: Models, name: str) -> Any:
    """The method of this name.

    Raises:
        ConfigurationError: there is no such method.
    """
    found: dict[str, Any] = methods(models)
    if name not in found:
        raise ConfigurationError(f"there is no method {name!r}; choose among {', '.join(found)}")
    return found[name]


def choice_of(models: Models) -> Choice:
    """The methods for these models in recipes, records and options: a name, or a mapping of settings."""
    registry: dict[str, Any] = methods(models)
    return Choice("method", registry, key="name", base=Method)


@functools.cache
def _discover(models: Models) -> None:
    """Import the modules of a package, which register their methods, and sort the registry."""
    import_modules(PACKAGES[models])
    found = _found[models]
    for name in [*(name for name in TABLES[models] if name in found), *(n for n in found if n not in TABLES[models])]:
        found[name] = found.pop(name)
