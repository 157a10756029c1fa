"""Fixtures of the library's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from drawn import figures
from surroundings import quiet, seeded

from mnemotomy.store.fact_store import FactStore

__all__ = ["figures", "quiet", "seeded"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FactStore]:
    with FactStore(tmp_path / "facts.db") as opened:
        yield opened
