"""Two cores are shared by all tests: one thread each, and no network."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

from mnemotomy.models import quiet_transformers

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _quiet():
    with quiet_transformers():
        yield


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
