"""``nn.MultiheadAttention``: query, key, value and output projections, packed into one matrix or separate."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.engram.sites.base import Reading, Site
from mnemotomy.engram.sites.layout import LastDimension

PROJECTIONS = ("q_proj", "k_proj", "v_proj")


class AttentionInputSite(Site):
    """One of the three input projections: a slice of ``in_proj_weight`` or a separate matrix."""

    module: nn.MultiheadAttention

    def __init__(self, name: str, module: nn.MultiheadAttention, projection: str) -> None:
        super().__init__(f"{name}.{projection}" if name else projection, module)
        self.weight_name = "in_proj_weight" if _is_packed(module) else f"{projection}_weight"
        self.bias_name = "in_proj_bias"
        self._index = PROJECTIONS.index(projection)

    def reading(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reading:
        x = _bind(args, kwargs)[("query", "key", "value")[self._index]]
        batch_first = self.module.batch_first or x.dim() == 2
        return Reading(x if batch_first else x.transpose(0, 1), LastDimension(), source=x)

    def part(self, parameter: Tensor) -> Tensor:
        size = self.module.embed_dim
        return parameter if len(parameter) == size else parameter[self._index * size : (self._index + 1) * size]


class AttentionOutputSite(Site):
    """The output projection, which torch applies without calling its module.

    Its input is therefore computed again, by the same attention with the identity as output projection.
    """

    module: nn.MultiheadAttention

    def __init__(self, name: str, module: nn.MultiheadAttention) -> None:
        super().__init__(f"{name}.out_proj" if name else "out_proj", module)

    @property
    def owner(self) -> nn.Module:
        return self.module.out_proj

    def reading(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reading:
        heads = _attended(self.module, _bind(args, kwargs))
        return Reading(heads, LastDimension(), source=heads)


def _attended(attention: nn.MultiheadAttention, call: dict[str, Any]) -> Float[Tensor, "batch length d"]:
    """The concatenated heads, before the output projection."""
    query, key, value = (
        x.transpose(0, 1) if attention.batch_first and x.dim() == 3 else x
        for x in (call["query"], call["key"], call["value"])
    )
    identity = torch.eye(attention.embed_dim, dtype=query.dtype, device=query.device)
    separate = not _is_packed(attention)
    heads, _ = F.multi_head_attention_forward(
        query,
        key,
        value,
        attention.embed_dim,
        attention.num_heads,
        attention.in_proj_weight,
        attention.in_proj_bias,
        attention.bias_k,
        attention.bias_v,
        attention.add_zero_attn,
        0.0,
        identity,
        torch.zeros(attention.embed_dim, dtype=query.dtype, device=query.device),
        training=False,
        key_padding_mask=call.get("key_padding_mask"),
        need_weights=False,
        attn_mask=call.get("attn_mask"),
        is_causal=bool(call.get("is_causal", False)),
        use_separate_proj_weight=separate,
        q_proj_weight=attention.q_proj_weight if separate else None,
        k_proj_weight=attention.k_proj_weight if separate else None,
        v_proj_weight=attention.v_proj_weight if separate else None,
    )
    return heads.transpose(0, 1) if heads.dim() == 3 else heads


def _is_packed(attention: nn.MultiheadAttention) -> bool:
    """Whether the three input projections share ``in_proj_weight``."""
    return isinstance(attention.in_proj_weight, Tensor)


def _bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of ``nn.MultiheadAttention.forward`` by name."""
    names = "query key value key_padding_mask need_weights attn_mask average_attn_weights is_causal"
    return {**dict(zip(names.split(), args, strict=False)), **kwargs}
