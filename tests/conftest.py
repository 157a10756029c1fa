"""Two cores are shared by all tests: one thread each, and no network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

from mnemotomy.core.models import quiet_transformers
from mnemotomy.store.fact_store import FactStore

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _quiet():
    with quiet_transformers():
        yield


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FactStore]:
    with FactStore(tmp_path / "facts.db") as opened:
        yield opened
