"""Convolutions: rows are receptive fields, so that ``W x + b`` is the layer's output at one position."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from mnemotomy.engram.sites.base import Reading, WeightAndBias, first_input
from mnemotomy.engram.sites.layout import Layout, Patches

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
TransposedConvolution = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


class ConvolutionSite(WeightAndBias):
    """``nn.Conv1d/2d/3d``; the weight ``[out, in/groups, *kernel]`` flattens to ``[out, in/groups * k]``."""

    module: Convolution

    def __init__(self, name: str, module: Convolution) -> None:
        super().__init__(name, module)
        self.groups = module.groups

    def layout(self) -> Layout:
        conv = self.module
        mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
        return Patches(
            kernel=tuple(conv.kernel_size),
            stride=tuple(conv.stride),
            dilation=tuple(conv.dilation),
            padding=_both_sides(conv),
            mode=mode,
            groups=conv.groups,
        )

    def to_canonical(self, weight: Tensor) -> Tensor:
        return weight.flatten(1)

    def from_canonical(self, delta: Tensor) -> Tensor:
        return delta.reshape(self.module.weight.shape)

    def reading(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reading:
        x = first_input(args, kwargs)
        return Reading(_batched(x, self.module), self.layout(), source=x)


class TransposedConvolutionSite(WeightAndBias):
    """``nn.ConvTranspose1d/2d/3d`` as an ordinary convolution: stride 1 over the input spread by zeros.

    The rows are the receptive fields of output positions, so that ``W x + b`` is the output itself and the bias is a
    column as in other layers. Canonical weight: ``[out, in/groups * k]`` with the kernel flipped.
    """

    module: TransposedConvolution

    def __init__(self, name: str, module: TransposedConvolution) -> None:
        super().__init__(name, module)
        self.groups = module.groups

    def layout(self) -> Layout:
        return self._patches(tuple(self.module.output_padding))

    def _patches(self, output_padding: tuple[int, ...]) -> Patches:
        conv = self.module
        padding: list[int] = []
        for axis in reversed(range(len(conv.kernel_size))):
            reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1) - cast(int, conv.padding[axis])
            padding += [reach, reach + output_padding[axis]]
        return Patches(
            kernel=tuple(conv.kernel_size),
            stride=(1,) * len(conv.kernel_size),
            dilation=tuple(conv.dilation),
            padding=tuple(padding),
            groups=conv.groups,
            upsample=tuple(conv.stride),
        )

    def to_canonical(self, weight: Tensor) -> Tensor:
        groups, kernel = self.groups, weight.shape[2:]
        per_group = weight.unflatten(0, (groups, -1)).transpose(1, 2)  # [groups, out/groups, in/groups, *kernel]
        return per_group.flip(tuple(range(3, 3 + len(kernel)))).flatten(0, 1).flatten(1)

    def from_canonical(self, delta: Tensor) -> Tensor:
        shape = self.module.weight.shape
        groups, kernel = self.groups, shape[2:]
        per_group = delta.reshape(groups, shape[1], shape[0] // groups, *kernel)
        return per_group.flip(tuple(range(3, 3 + len(kernel)))).transpose(1, 2).reshape(shape)

    def reading(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reading:
        x, spatial = first_input(args, kwargs), len(self.module.kernel_size)
        size = args[1] if len(args) > 1 else kwargs.get("output_size")
        layout = self.layout() if size is None else self._patches(self._reaching(x, list(size)[-spatial:]))
        return Reading(_batched(x, self.module), layout, source=x)

    def _reaching(self, x: Tensor, size: list[int]) -> tuple[int, ...]:
        """The padding at the end that makes the output as large as ``size``."""
        conv, spatial = self.module, len(size)
        return tuple(
            size[a]
            - (x.shape[a - spatial] - 1) * conv.stride[a]
            + 2 * cast(int, conv.padding[a])
            - conv.dilation[a] * (conv.kernel_size[a] - 1)
            - 1
            for a in range(spatial)
        )


def _batched(x: Tensor, conv: Convolution | TransposedConvolution) -> Tensor:
    """The images with a batch dimension, which a single image may lack."""
    return x if x.dim() == len(conv.kernel_size) + 2 else x[None]


def _both_sides(conv: Convolution) -> tuple[int, ...]:
    """The padding before and after each spatial dimension, last dimension first, as ``F.pad`` takes it."""
    sides: list[int] = []
    for axis in reversed(range(len(conv.kernel_size))):
        if conv.padding == "same":  # as in torch, the odd one goes behind
            total = conv.dilation[axis] * (conv.kernel_size[axis] - 1)
            sides += [total // 2, total - total // 2]
        elif conv.padding == "valid":
            sides += [0, 0]
        else:
            sides += [cast(int, conv.padding[axis])] * 2
    return tuple(sides)
