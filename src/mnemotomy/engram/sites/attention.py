"""``nn.MultiheadAttention``: query, key, value and output projections, packed into one matrix or separate."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mnemotomy.engram.sites.base import Observe, Reading, Site, add_rounded
from mnemotomy.engram.sites.layout import LastDimension

PROJECTIONS = ("q_proj", "k_proj", "v_proj")


class AttentionInputSite(Site):
    """One of the three input projections; a slice of ``in_proj_weight`` or a matrix of its own."""

    module: nn.MultiheadAttention

    def __init__(self, name: str, module: nn.MultiheadAttention, projection: str) -> None:
        super().__init__(f"{name}.{projection}" if name else projection, module)
        self.projection = projection
        self._index = PROJECTIONS.index(projection)

    @property
    def packed(self) -> bool:
        """Whether the three projections share ``in_proj_weight``."""
        return isinstance(self.module.in_proj_weight, Tensor)

    @property
    def has_bias(self) -> bool:
        return isinstance(self.module.in_proj_bias, Tensor)

    @property
    def parameters(self) -> tuple[tuple[nn.Module, str], ...]:
        weight = (self.module, "in_proj_weight" if self.packed else f"{self.projection}_weight")
        return (weight, (self.module, "in_proj_bias")) if self.has_bias else (weight,)

    def weight(self) -> Float[Tensor, "out d"]:
        weight = self._weight().detach().float()
        if not self.has_bias:
            return weight
        return torch.cat([weight, self._bias().detach().float()[:, None]], dim=1)

    def add_(self, delta: Float[Tensor, "out d"]) -> None:
        with torch.no_grad():
            if self.has_bias:
                add_rounded(self._bias(), delta[:, -1])
                delta = delta[:, :-1]
            add_rounded(self._weight(), delta)

    def attach(self, observe: Observe) -> list[RemovableHandle]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call = _bind(args, kwargs)
            x = call[("query", "key", "value")[self._index]]
            observe(self.name, Reading(_batch_first(self.module, x), LastDimension(), source=x))

        return [self.module.register_forward_pre_hook(hook, with_kwargs=True)]

    def _slice(self) -> slice:
        size = self.module.embed_dim
        return slice(self._index * size, (self._index + 1) * size)

    def _weight(self) -> Tensor:
        if self.packed:
            return self.module.in_proj_weight[self._slice()]
        value = getattr(self.module, f"{self.projection}_weight")
        assert isinstance(value, Tensor)
        return value

    def _bias(self) -> Tensor:
        return self.module.in_proj_bias[self._slice()]


class AttentionOutputSite(Site):
    """The output projection, which torch applies without calling its module.

    Its input is therefore computed once more, by the same attention with the identity as output projection.
    """

    module: nn.MultiheadAttention

    def __init__(self, name: str, module: nn.MultiheadAttention) -> None:
        super().__init__(f"{name}.out_proj" if name else "out_proj", module)

    @property
    def has_bias(self) -> bool:
        return isinstance(self.module.out_proj.bias, Tensor)

    @property
    def parameters(self) -> tuple[tuple[nn.Module, str], ...]:
        names = ("weight", "bias") if self.has_bias else ("weight",)
        return tuple((self.module.out_proj, name) for name in names)

    def weight(self) -> Float[Tensor, "out d"]:
        weight = self.module.out_proj.weight.detach().float()
        if not self.has_bias:
            return weight
        return torch.cat([weight, self.module.out_proj.bias.detach().float()[:, None]], dim=1)

    def add_(self, delta: Float[Tensor, "out d"]) -> None:
        if self.has_bias:
            add_rounded(self.module.out_proj.bias, delta[:, -1])
            delta = delta[:, :-1]
        add_rounded(self.module.out_proj.weight, delta)

    def attach(self, observe: Observe) -> list[RemovableHandle]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            heads = _attended(self.module, _bind(args, kwargs))
            observe(self.name, Reading(heads, LastDimension(), source=heads))

        return [self.module.register_forward_pre_hook(hook, with_kwargs=True)]


def _attended(attention: nn.MultiheadAttention, call: dict[str, Any]) -> Float[Tensor, "batch length d"]:
    """The concatenated heads, before the output projection."""
    query, key, value = (_sequence_first(attention, call[name]) for name in ("query", "key", "value"))
    identity = torch.eye(attention.embed_dim, dtype=query.dtype, device=query.device)
    separate = not isinstance(attention.in_proj_weight, Tensor)
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


def _bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of ``nn.MultiheadAttention.forward`` by name."""
    names = (
        "query",
        "key",
        "value",
        "key_padding_mask",
        "need_weights",
        "attn_mask",
        "average_attn_weights",
        "is_causal",
    )
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _batch_first(attention: nn.MultiheadAttention, x: Tensor) -> Tensor:
    return x if attention.batch_first or x.dim() == 2 else x.transpose(0, 1)


def _sequence_first(attention: nn.MultiheadAttention, x: Tensor) -> Tensor:
    return x.transpose(0, 1) if attention.batch_first and x.dim() == 3 else x
