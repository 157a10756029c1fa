"""A vision transformer for small images, as built by transformers (Dosovitskiy et al. 2021)."""

from __future__ import annotations

from torch import nn

HIDDEN, LAYERS, HEADS = 192, 6, 3
"""ViT-Ti (Touvron et al. 2021) with half its blocks, at width 1."""


def vit(channels: int, side: int, classes: int, width: float = 1.0) -> nn.Module:
    """Patches of an eighth of the side; ``width`` scales the hidden size, and the heads where possible.

    It takes pixels and returns a transformers output; its ``logits`` are ``[n, classes]``.
    """
    from transformers import ViTConfig, ViTForImageClassification

    hidden = max(HEADS, round(HIDDEN * width / HEADS) * HEADS)
    return ViTForImageClassification(
        ViTConfig(
            image_size=side,
            patch_size=max(1, side // 8),
            num_channels=channels,
            hidden_size=hidden,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=2 * hidden,
            num_labels=classes,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )
