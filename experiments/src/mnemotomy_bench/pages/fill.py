"""Tables between markers: ``<!-- name -->``, a generated table, ``<!-- /name -->``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.files import write_text

_MARKED = re.compile(r"<!-- ([\w-]+) -->\n(.*?)<!-- /\1 -->", re.DOTALL)


def pages(root: Path) -> list[Path]:
    """The README and the pages of results in a checkout."""
    return [root / "README.md", *sorted((root / "docs" / "results").glob("*.md"))]


def filled(text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """The page with every marked table made anew.

    Raises:
        ConfigurationError: a marker names no table.
    """

    def made(found: re.Match[str]) -> str:
        name = found[1]
        if name not in tables:
            raise ConfigurationError(f"no table is called {name!r}; known: {', '.join(sorted(tables))}")
        return f"<!-- {name} -->\n{tables[name]().strip()}\n<!-- /{name} -->"

    return _MARKED.sub(made, text)


def stale(root: Path, tables: Mapping[str, Callable[[], str]]) -> list[Path]:
    """The pages whose tables differ from the results."""
    return [page for page in pages(root) if filled(text := _read(page), tables) != text]


def fill(root: Path, tables: Mapping[str, Callable[[], str]]) -> list[Path]:
    """Write the tables into the pages, and return the pages that changed."""
    changed = stale(root, tables)
    for page in changed:
        write_text(page, filled(_read(page), tables))
    return changed


def _read(page: Path) -> str:
    return page.read_text(encoding="utf-8")
