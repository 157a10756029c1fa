"""Fused experts of transformers' mixture-of-experts models: ``gate_up_proj [E, 2i, d]``, ``down_proj [E, d, i]``.

Each expert's slice is a separate site that sees only the tokens routed to it. The variants (transposed storage,
biases, no gate, interleaved gates) are read from the flags that transformers' ``use_experts_implementation`` sets on
the module.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from mnemotomy.engram.sites.base import Reading, Site
from mnemotomy.engram.sites.layout import LastDimension


class ExpertSite(Site):
    """One projection of one expert: ``parameter[expert]``, with ``parameter_bias[expert]`` if there is one."""

    routed = True

    def __init__(self, name: str, module: nn.Module, projection: str, expert: int) -> None:
        super().__init__(f"{name}.{projection}.{expert}" if name else f"{projection}.{expert}", module)
        self.weight_name, self.bias_name = projection, f"{projection}_bias"
        self.expert = expert

    def part(self, parameter: Tensor) -> Tensor:
        return parameter[self.expert]

    def to_canonical(self, weight: Tensor) -> Tensor:
        return _oriented(self.module, weight)

    def from_canonical(self, delta: Tensor) -> Tensor:
        return _oriented(self.module, delta)

    def reading(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reading | None:
        hidden, index = _routing(args, kwargs)
        tokens = (index == self.expert).any(dim=-1).nonzero()[:, 0]
        if len(tokens) == 0:
            return None
        rows = hidden[tokens]
        if self.weight_name == "down_proj":
            rows = _intermediate(self.module, rows, self.expert)
        return Reading(rows, LastDimension(), source=rows, tokens=tokens)


def is_fused_experts(module: nn.Module) -> bool:
    """Whether the module contains expert tensors in the layout of transformers' experts interface."""
    first = _first_projection(module)
    return (
        first is not None
        and isinstance(getattr(module, "down_proj", None), nn.Parameter)
        and hasattr(module, "is_transposed")
    )


def expert_sites(name: str, module: nn.Module) -> list[Site]:
    """The sites of one fused experts module."""
    first = _first_projection(module)
    assert first is not None
    experts = getattr(module, first).shape[0]
    return [ExpertSite(name, module, projection, e) for projection in (first, "down_proj") for e in range(experts)]


def _first_projection(module: nn.Module) -> str | None:
    for name in ("gate_up_proj", "up_proj"):
        value = getattr(module, name, None)
        if isinstance(value, nn.Parameter) and value.dim() == 3:
            return name
    return None


def _routing(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Float[Tensor, "n d"], Int[Tensor, "n k"]]:
    """Hidden states and expert indices of a call ``experts(hidden_states, top_k_index, top_k_weights)``."""
    values = [*args, *kwargs.values()]
    hidden, index = values[0], values[1]
    hidden = hidden.reshape(-1, hidden.shape[-1])
    return hidden, index.reshape(hidden.shape[0], -1)


def _intermediate(module: Any, rows: Float[Tensor, "n d"], expert: int) -> Float[Tensor, "n i"]:
    """What the expert's down projection reads."""
    first = _first_projection(module)
    assert first is not None
    bias = getattr(module, f"{first}_bias", None)
    up = F.linear(rows, _oriented(module, getattr(module, first)[expert]), None if bias is None else bias[expert])
    hidden: Tensor = module._apply_gate(up) if module.has_gate else module.act_fn(up)
    return hidden


def _oriented(module: Any, matrix: Tensor) -> Tensor:
    """From storage to canonical ``[out, in]``, or back."""
    return matrix.T if module.is_transposed else matrix
