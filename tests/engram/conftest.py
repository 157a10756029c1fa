"""A small network and its atlas."""

from __future__ import annotations

import pytest
from helpers import QUIET, mlp, randn
from torch import nn

import mnemotomy as mt


@pytest.fixture
def model() -> nn.Sequential:
    return mlp(5, 6, 3)


@pytest.fixture
def atlas(model: nn.Sequential) -> mt.Atlas:
    """Concepts ``a``, ``b`` and ``c`` with 6, 9 and 12 rows."""
    data = {name: [randn(6 + 3 * i, 5, seed=i)] for i, name in enumerate("abc")}
    return mt.Atlas(model, mt.collect(model, data, options=QUIET))
