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
from torch.nn.functional import relu6

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

_NAMES = {  # of the published state dict, and here
    "_conv_stem": "stem", "_bn0": "stem_norm", "_conv_head": "head", "_bn1": "head_norm", "_fc": "classifier",
}  # fmt: skip
_BLOCK_NAMES = {
    "_expand_conv": "expand", "_bn0": "expand_norm", "_depthwise_conv": "depthwise", "_bn1": "depthwise_norm",
    "_project_conv": "project", "_bn2": "project_norm",
}  # fmt: skip


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
        self.widens = stage.expansion > 1
        if self.widens:
            self.expand, self.expand_norm = nn.Conv2d(inputs, inner, 1, bias=False), _norm(inner)
        self.padding = SamePadding(stage.side, stride)
        self.depthwise = nn.Conv2d(inner, inner, stage.side, stride, groups=inner, bias=False)
        self.depthwise_norm = _norm(inner)
        self.project, self.project_norm = nn.Conv2d(inner, stage.width, 1, bias=False), _norm(stage.width)
        self.adds = stride == 1 and inputs == stage.width

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        wide = relu6(self.expand_norm(self.expand(x))) if self.widens else x
        wide = relu6(self.depthwise_norm(self.depthwise(self.padding(wide))))
        found: Tensor = self.project_norm(self.project(wide))
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
        self.padding = SamePadding(3, 2)
        self.stem, self.stem_norm = nn.Conv2d(3, stem, 3, 2, bias=False), _norm(stem)
        blocks, current = [], stem
        for stage in stages:
            for place in range(stage.depth):
                blocks.append(Block(current, stage, 1 if place else stage.stride))
                current = stage.width
        self.blocks = nn.Sequential(*blocks)
        self.head, self.head_norm = nn.Conv2d(current, head, 1, bias=False), _norm(head)
        self.classifier = nn.Linear(head, classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        x = self.blocks(relu6(self.stem_norm(self.stem(self.padding(x)))))
        found: Tensor = self.classifier(relu6(self.head_norm(self.head(x))).mean((2, 3)))
        return found


def load_published_(model: EfficientNetLite, state: Mapping[str, Tensor]) -> EfficientNetLite:
    """Place every tensor of a published state dict, and return the model in evaluation mode.

    Raises:
        ModelError: a tensor is missing, has no place, or has another shape.
    """
    ours = {}
    for name, value in state.items():
        found = re.fullmatch(r"(?:_blocks\.(\d+)\.)?(\w+)\.(\w+)", name)
        part = (_BLOCK_NAMES if found[1] else _NAMES).get(found[2]) if found else None
        if found is None or part is None:
            raise ModelError(f"EfficientNet-Lite has no place for {name!r}; these are the weights of another network")
        ours[f"blocks.{found[1]}.{part}.{found[3]}" if found[1] else f"{part}.{found[3]}"] = value
    try:
        model.load_state_dict(ours)
    except RuntimeError as error:
        why = " ".join(str(error).split())
        raise ModelError(f"these are not the weights of EfficientNet-Lite0: {why[:300]}") from error
    return model.eval()


def _norm(channels: int) -> nn.BatchNorm2d:
    """As trained: TensorFlow's momentum of 0.99, ε = 0.001."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
