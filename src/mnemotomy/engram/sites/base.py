"""A site: one editable affine map of a model, its input rows ``X [N, d]`` and its canonical weight ``W [out, d]``."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mnemotomy.core.errors import NonFiniteError
from mnemotomy.engram.sites.layout import Layout

Observe = Callable[[str, "Reading"], None]
"""A hook calls it with the site's name and its reading."""


@dataclass(frozen=True)
class Reading:
    """One tensor that a site reads in a forward pass, and how its rows are cut out of it.

    Attributes:
        tensor: the raw input, with the batch as its first dimension (or rows of ``tokens``).
        layout: turns the tensor into rows; readings of the same tensor and layout share one statistic.
        source: the object that the module was called with; sites that read the same object share one statistic.
        tokens: for routed inputs, the flat index of the token of each row.
    """

    tensor: Tensor
    layout: Layout
    source: Tensor
    tokens: Tensor | None = None


class Site(ABC):
    """One affine map ``y = W x + b``, edited as ``[W b]`` over inputs extended by 1.

    Attributes:
        name: its place in the model; the key of engrams and edits.
        module: the module whose forward pass reads the input.
        weight_name, bias_name: attributes of ``owner``.
        groups: diagonal blocks of the map (grouped convolutions); row ``o`` belongs to block ``o // (out / groups)``.
    """

    weight_name, bias_name = "weight", "bias"
    groups: int = 1
    routed: bool = False  # reached by some tokens only: seeing none of a concept is not an error

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name = name
        self.module = module

    @property
    def kind(self) -> str:
        """The projection's own name, such as ``q_proj``: a column of heatmaps."""
        parts = [part for part in self.name.split(".") if not part.isdigit()]
        return parts[-1] if parts else self.name

    @property
    def layer(self) -> int | None:
        """The index of the site's block, if its name has one."""
        block = re.search(r"(?:^|\.)(?:layers|layer|blocks|block|h)\.(\d+)(?:\.|$)", self.name)
        match = block or re.search(r"(?:^|\.)(\d+)(?:\.|$)", self.name)
        return int(match.group(1)) if match else None

    @property
    def owner(self) -> nn.Module:
        """The module with the weight and the bias."""
        return self.module

    @property
    def has_bias(self) -> bool:
        """Whether the canonical weight ends with a bias column."""
        return isinstance(getattr(self.owner, self.bias_name, None), Tensor)

    @property
    def parameters(self) -> tuple[tuple[nn.Module, str], ...]:
        """Owner and attribute of each parameter that an edit writes to: the weight, and the bias if there is one."""
        weight, bias = (self.owner, self.weight_name), (self.owner, self.bias_name)
        return (weight, bias) if self.has_bias else (weight,)

    @abstractmethod
    def reading(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reading | None:
        """What the site reads if its module is called with these arguments; None if nothing."""

    def part(self, parameter: Tensor) -> Tensor:
        """The site's part, a view, of a parameter that several sites may share."""
        return parameter

    def to_canonical(self, weight: Tensor) -> Float[Tensor, "out d"]:
        """The stored weight as ``[out, d]``."""
        return weight

    def from_canonical(self, delta: Float[Tensor, "out d"]) -> Tensor:
        """A canonical matrix in the shape of the stored weight."""
        return delta

    def weight(self) -> Float[Tensor, "out d"]:
        """The canonical weight in float32, the bias as its last column; a new tensor or a read-only view."""
        stored, *bias = (self.part(getattr(*place)).detach() for place in self.parameters)
        weight = self.to_canonical(stored).float()
        return torch.cat([weight, bias[0].float()[:, None]], dim=1) if bias else weight

    def add_(self, delta: Float[Tensor, "out d"]) -> None:
        """Add a canonical ``delta`` to the model's own tensors, in place, rounded once to their dtype."""
        with torch.no_grad():
            stored, *bias = (self.part(getattr(*place)) for place in self.parameters)
            if bias:
                add_rounded(bias[0], delta[:, -1])
                delta = delta[:, :-1]
            add_rounded(stored, self.from_canonical(delta))

    def attach(self, observe: Observe) -> list[RemovableHandle]:
        """Report each input of a forward pass to ``observe``; the handles undo it."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            reading = self.reading(args, kwargs)
            if reading is not None:
                observe(self.name, reading)

        return [self.module.register_forward_pre_hook(hook, with_kwargs=True)]


class WeightAndBias(Site):
    """A site whose weight and bias are the ``weight`` and ``bias`` of its own module."""

    def reading(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reading:
        x = first_input(args, kwargs)
        return Reading(x, self.layout(), source=x)

    @abstractmethod
    def layout(self) -> Layout:
        """How this layer's input becomes rows."""


def add_rounded(target: Tensor, delta: Tensor) -> None:
    """``target += delta`` computed in the finer of their dtypes and rounded once to the target's.

    Raises:
        NonFiniteError: the sum overflows in the target's dtype; the target stays as it is.
    """
    with torch.no_grad():
        delta = delta.to(target.device)
        if target.dtype == delta.dtype:
            target.add_(delta)
            return
        total = target.to(torch.promote_types(target.dtype, delta.dtype)) + delta
        if target.dtype is torch.float16 and float(total.abs().max()) > torch.finfo(torch.float16).max:
            raise NonFiniteError(
                f"the edit makes a weight {float(total.abs().max()):.3g}, but float16 ends at 65504; load the model in "
                "bfloat16 or float32, or choose a smaller strength"
            )
        target.copy_(total)


def first_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The tensor that a layer with one input was called with, by position or by name."""
    value = args[0] if args else next(iter(kwargs.values()))
    assert isinstance(value, Tensor)
    return value
