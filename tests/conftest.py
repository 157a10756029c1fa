"""Fixtures of the library's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from counted import counted, pytest_terminal_summary
from drawn import figures
from surroundings import quiet, seeded
from tiny_tofu import save_pair, save_tofu

from mnemotomy.store.fact_store import FactStore

__all__ = ["counted", "figures", "pytest_terminal_summary", "quiet", "seeded"]


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of TOFU's splits (``tofu``) and three tiny models (``full``, ``retain90``, ``base``)."""
    folder = tmp_path_factory.mktemp("pair")
    save_tofu(folder / "tofu")
    save_pair(folder)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FactStore]:
    with FactStore(tmp_path / "facts.db") as opened:
        yield opened
