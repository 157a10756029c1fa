"""EfficientNet-Lite0: EfficientNet-B0 (Tan & Le 2019, arXiv 1905.11946) for phones, as Google published it in 2020.

Lite networks have no squeeze-and-excitation, ReLU6 for swish, and a stem and a head that keep their width. Strided
convolutions pad as TensorFlow does, on the right and at the bottom first: the published weights were trained so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.core.errors import ModelError

STEM, HEAD, CLASSES = 32, 1280, 1000


class Stage(NamedTuple):
    """Blocks of one width; only the first has the stride."""

    depth: int
    side: int
    stride: int
    expansion: int
    width: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
"""Table 1 of arXiv 1905.11946."""

_NAMES = (  # of the published state dict, and here
    (r"^_conv_stem\.", "stem.1."),
    (r"^_bn0\.", "stem.2."),
    (r"^_conv_head\.", "head.0."),
    (r"^_bn1\.", "head.1."),
    (r"^_fc\.", "classifier."),
    (r"^_blocks\.(\d+)\._expand_conv\.", r"blocks.\1.expand.0."),
    (r"^_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand.1."),
    (r"^_blocks\.(\d+)\._depthwise_conv\.", r"blocks.\1.depthwise.1."),
    (r"^_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise.2."),
    (r"^_blocks\.(\d+)\._project_conv\.", r"blocks.\1.project.0."),
    (r"^_blocks\.(\d+)\._bn2\.", r"blocks.\1.project.1."),
)


class SamePadding(nn.Module):
    """Zeros around an image, so that a strided convolution gives ``⌈side / stride⌉``; an odd one comes last."""

    def __init__(self, side: int, stride: int) -> None:
        super().__init__()
        self.side, self.stride = side, stride

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c i j"]:
        height, width = (max((-(-size // self.stride) - 1) * self.stride + self.side - size, 0) for size in x.shape[2:])
        return nn.functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))


class Block(nn.Module):
    """An inverted bottleneck: 1×1 up, depthwise, 1×1 down, with a shortcut where shapes match."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inner = inputs * stage.expansion
        wider = [nn.Conv2d(inputs, inner, 1, bias=False), _norm(inner), nn.ReLU6()] if stage.expansion > 1 else []
        self.expand = nn.Sequential(*wider)
        self.depthwise = nn.Sequential(
            SamePadding(stage.side, stride),
            nn.Conv2d(inner, inner, stage.side, stride, groups=inner, bias=False),
            _norm(inner),
            nn.ReLU6(),
        )
        self.project = nn.Sequential(nn.Conv2d(inner, stage.width, 1, bias=False), _norm(stage.width))
        self.adds = stride == 1 and inputs == stage.width

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        found: Tensor = self.project(self.depthwise(self.expand(x)))
        return found + x if self.adds else found


class EfficientNetLite(nn.Module):
    """From images to logits; 4.65 million parameters as published.

    Args:
        stages: of blocks.
        classes: number of logits.
        stem: channels of the first convolution.
        head: features that the classifier reads.
    """

    def __init__(
        self, stages: tuple[Stage, ...] = STAGES, classes: int = CLASSES, stem: int = STEM, head: int = HEAD
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(SamePadding(3, 2), nn.Conv2d(3, stem, 3, 2, bias=False), _norm(stem), nn.ReLU6())
        blocks, current = [], stem
        for stage in stages:
            for place in range(stage.depth):
                blocks.append(Block(current, stage, 1 if place else stage.stride))
                current = stage.width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.Conv2d(current, head, 1, bias=False), _norm(head), nn.ReLU6())
        self.classifier = nn.Linear(head, classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        return self.classifier(self.head(self.blocks(self.stem(x))).mean((2, 3)))


def load_published_(model: EfficientNetLite, state: Mapping[str, Tensor]) -> EfficientNetLite:
    """Place every tensor of a published state dict, and return the model in evaluation mode.

    Raises:
        ModelError: a tensor is missing, has no place, or has another shape.
    """
    ours = {}
    for name, value in state.items():
        renamed = next((re.sub(old, new, name) for old, new in _NAMES if re.match(old, name)), None)
        if renamed is None:
            raise ModelError(f"EfficientNet-Lite has no place for {name!r}; these are the weights of another network")
        ours[renamed] = value
    try:
        model.load_state_dict(ours)
    except RuntimeError as error:
        why = " ".join(str(error).split())
        raise ModelError(f"these are not the weights of EfficientNet-Lite0: {why[:300]}") from error
    return model.eval()


def _norm(channels: int) -> nn.BatchNorm2d:
    """As trained: TensorFlow's momentum of 0.99, ε = 0.001."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
