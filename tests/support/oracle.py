"""The closed form in plain float64, and a list of cases that compare the product's numbers with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from helpers import QUIET, gram, randn
from torch import Tensor, nn

import mnemotomy as mt

Check = Callable[..., tuple[Tensor, Tensor, float]]
"""What was found, what is right, and the relative distance that is allowed."""

Case = Callable[..., Callable[[Check], Check]]


def cases() -> tuple[list[Any], Case]:
    """An empty list, and the decorator that adds to it: ``case(kind, *values, refused=None)``, one case per value."""
    found: list[Any] = []

    def case(kind: str, *values: Any, refused: str | None = None) -> Callable[[Check], Check]:
        def add(check: Check) -> Check:
            for value in values or (None,):
                name = getattr(value, "__name__", str(value))
                run = check if value is None else partial(check, value)
                found.append(pytest.param(kind, run, refused, id=f"{kind}: {check.__name__} {name}"))
            return check

        return add

    return found, case


def oracle(
    weight: Tensor, rows: dict[str, Tensor], of: Sequence[str] = "a", keep: Any = None, response: Any = None
) -> Tensor:
    """``W Σ⁺ Σ†`` in float64; with a response f, ``W S f(M) S†`` of the symmetric ``M = S† Σ⁺ S†ᵀ``."""
    concept = sum(gram(rows[name]) for name in of)
    values, vectors = torch.linalg.eigh(sum(gram(x) for x in rows.values()))
    kept = (keep or (lambda values: values > 1e-6 * values[-1]))(values) & (values > 0)
    values, vectors = values[kept], vectors[:, kept]
    if response is None:
        return weight.double() @ concept @ (vectors / values) @ vectors.mT
    inner = vectors / values.sqrt()
    mu, basis = torch.linalg.eigh(inner.mT @ concept @ inner)
    return weight.double() @ (vectors * values.sqrt()) @ basis @ torch.diag(response(mu)) @ basis.mT @ inner.mT


def rows(d: int = 6, n: Sequence[int] = (20, 30), seed: int = 0) -> dict[str, Tensor]:
    """Rows of concepts a, b, ... with correlated inputs."""
    return {
        name: randn(count, d, seed=seed + i) @ randn(d, d, seed=50 + i)
        for i, (name, count) in enumerate(zip("abcdefghij", n, strict=False))
    }


def layer(d: int = 6, out: int = 4, scale: float = 1.0) -> nn.Linear:
    made = nn.Linear(d, out, bias=False)
    with torch.no_grad():
        made.weight.copy_(scale * randn(out, d, seed=9))
    return made


def engram(model: nn.Module, data: dict[str, Any], site: str = "", options: Any = QUIET, **how: Any) -> Tensor:
    listed = {name: x if isinstance(x, list) else [x] for name, x in data.items()}
    moments = mt.collect(model, listed, sites="all", options=options)
    return mt.Atlas(model, moments, **how)["a"][site]


def plainly(model: nn.Linear, data: dict[str, Tensor], **how: Any) -> tuple[Tensor, Tensor]:
    return engram(model, data, **how), oracle(model.weight, data)
