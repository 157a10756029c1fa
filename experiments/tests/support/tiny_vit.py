"""A vision transformer of random weights that takes 8×8 pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import ViTConfig, ViTForImageClassification

SHAPE = {
    "image_size": 8, "patch_size": 2, "num_channels": 3, "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 64, "hidden_dropout_prob": 0.0,
}  # fmt: skip


def save_vit(folder: Path, processor: Any, classes: int = 10) -> str:
    """A transformer of random weights that takes 8×8, with the processor; the folder's name."""
    ViTForImageClassification(ViTConfig(**SHAPE, num_labels=classes)).save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)
