"""Attention weights exist only where they are computed step by step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from torch import nn

from mnemotomy.core.errors import ModelError


@contextmanager
def eager_attention(model: nn.Module) -> Iterator[None]:
    """Eager attention inside, and each part's own implementation on leaving; fused kernels return no weights.

    Raises:
        ModelError: the model has no attention implementation to choose.
    """
    if not hasattr(model, "set_attn_implementation"):
        raise ModelError(f"{type(model).__name__} is no transformers model whose attention could be read")
    configs = _configs(model)
    before = [(config, config._attn_implementation) for config in configs]
    try:
        cast(Any, model).set_attn_implementation("eager")
        yield
    finally:
        for config, implementation in before:  # outer ones first: setting them sets what they contain
            config._attn_implementation = implementation


def _configs(model: nn.Module) -> list[Any]:
    """Every configuration in the model, the outer before the inner."""
    found: dict[int, Any] = {}
    pending = [module.config for module in model.modules() if hasattr(module, "config")]
    while pending:
        config = pending.pop(0)
        if id(config) not in found and hasattr(config, "_attn_implementation"):
            found[id(config)] = config
            inner = (getattr(config, name, None) for name in getattr(config, "sub_configs", {}))
            pending += [one for one in inner if one is not None]
    return list(found.values())
