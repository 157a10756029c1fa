"""What every test runs in: one thread each where two cores are shared by all, no network, a fixed seed."""

from __future__ import annotations

import os
from collections.abc import Iterator

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

from mnemotomy.core.models import quiet_transformers

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with quiet_transformers():
        yield


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
