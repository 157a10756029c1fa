"""Residual networks for small images: ResNet-18 and ResNet-50 with the stem of CIFAR (He et al. 2016).

The stem is one 3×3 convolution of stride 1 without pooling, as in every published CIFAR result of these networks.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

CHANNELS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(convolution(inputs, width, 3, stride), nn.ReLU(inplace=True)),
            convolution(width, width, 3),
        )
        self.shortcut = shortcut(inputs, width, stride)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        return (self.layers(x) + self.shortcut(x)).relu_()


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions with a shortcut; the output has four times as many channels."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.layers = nn.Sequential(
            *(convolution(inputs, width, 1), nn.ReLU(inplace=True)),
            *(convolution(width, width, 3, stride), nn.ReLU(inplace=True)),
            convolution(width, outputs, 1),
        )
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        return (self.layers(x) + self.shortcut(x)).relu_()


def resnet18(channels: int, classes: int, width: float = 1.0) -> nn.Sequential:
    """18 layers; 11.2 million parameters at ``width`` 1."""
    return _resnet(BasicBlock, (2, 2, 2, 2), channels, classes, width)


def resnet50(channels: int, classes: int, width: float = 1.0) -> nn.Sequential:
    """50 layers; 23.5 million parameters at ``width`` 1."""
    return _resnet(Bottleneck, (3, 4, 6, 3), channels, classes, width)


def convolution(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Sequential:
    """A convolution without bias, and batch normalisation, which has one."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False), nn.BatchNorm2d(outputs))


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The identity if shapes match, else a 1×1 convolution."""
    return nn.Identity() if stride == 1 and inputs == outputs else convolution(inputs, outputs, 1, stride)


def _resnet(
    block: type[BasicBlock] | type[Bottleneck], depths: Sequence[int], channels: int, classes: int, width: float
) -> nn.Sequential:
    widths = [max(1, round(count * width)) for count in CHANNELS]
    current = widths[0]
    layers: list[nn.Module] = [convolution(channels, current, 3), nn.ReLU(inplace=True)]
    for stage, (count, depth) in enumerate(zip(widths, depths, strict=True)):
        for place in range(depth):
            layers.append(block(current, count, 2 if stage and not place else 1))
            current = block.expansion * count
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(current, classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
