"""A small residual network of transformers that tells scikit-learn's digits apart, and its images as files."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

import mnemotomy as mt
from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.classifier import cross_entropy

FORGOTTEN = 3
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@functools.cache
def sets() -> tuple[Examples, Examples]:
    """Training and test images of 16 pixels a side, as the processor prepares them."""
    train, test = (
        Examples(
            2.0 * part.images.unflatten(1, (1, 8, 8)).repeat_interleave(2, 2).repeat_interleave(2, 3) - 1.0, part.labels
        )
        for part in mt.load_digits()
    )
    return train, test


def split(examples: Examples) -> tuple[Examples, Examples]:
    """The forgotten class, and the others."""
    own = examples.labels == FORGOTTEN
    return examples[own], examples[~own]


def network(seed: int = 0) -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(seed)
    config = ResNetConfig(
        num_channels=1, embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic",
        downsample_in_first_stage=False, id2label=dict(enumerate(NAMES)), label2id={n: i for i, n in enumerate(NAMES)},
    )  # fmt: skip
    return ResNetForImageClassification(config)


@functools.cache
def learned(without: int | None = None, seed: int = 0) -> nn.Module:
    """Trained on all digits, or on all but one class."""
    train, _ = sets()
    if without is not None:
        train = train[train.labels != without]
    model, draws = network(seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    batches = [batch for _ in range(5) for batch in train.batches(64, draws)]
    return mt.fit(model, batches, cross_entropy, optimizer, progress=False)


def save(model: nn.Module, folder: Path) -> Path:
    """As a folder with its image processor."""
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    processor = ViTImageProcessorPil(size={"height": 16, "width": 16}, image_mean=[0.5], image_std=[0.5])
    mt.save_model(model, folder, tokenizer=processor)
    return folder


@functools.cache
def vision_transformer() -> tuple[nn.Module, Any]:
    """A ViT for colour images of 24 pixels a side and its processor, trained on digits that this one resizes."""
    from transformers import ViTConfig, ViTForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(0)
    processor, draws = ViTImageProcessorPil(size={"height": 24, "width": 24}), torch.Generator().manual_seed(0)
    model = ViTForImageClassification(ViTConfig(
        image_size=24, patch_size=6, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        initializer_range=0.2, id2label=dict(enumerate(NAMES)), label2id={n: i for i, n in enumerate(NAMES)},
    ))  # fmt: skip
    drawn = [Image.fromarray(_bytes(image)).convert("RGB") for image in sets()[0].inputs]
    train = Examples(processor(drawn, return_tensors="pt")["pixel_values"], sets()[0].labels)
    batches = [batch for _ in range(8) for batch in train.batches(64, draws)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    return mt.fit(model, batches, cross_entropy, optimizer, progress=False), processor


def write_pictures(examples: Examples, folder: Path) -> Path:
    """PNG files in a folder by class."""
    for number, (image, label) in enumerate(zip(examples.inputs, examples.labels.tolist(), strict=True)):
        path = folder / NAMES[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_bytes(image)).save(path)
    return folder


def write_parquet(examples: Examples, path: Path, names: Sequence[str] | None = NAMES) -> Path:
    """A file as the hub writes it."""
    import io
    import json

    import pyarrow
    from pyarrow import parquet

    stored = []
    for image in examples.inputs:
        file = io.BytesIO()
        Image.fromarray(_bytes(image)).save(file, "PNG")
        stored.append({"bytes": file.getvalue(), "path": None})
    table = pyarrow.table({"image": stored, "label": examples.labels.tolist()})
    if names is not None:
        features = {"label": {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path)
    return path


def _bytes(image: Tensor) -> Any:
    return ((image[0] + 1.0) * 127.5).round().to(torch.uint8).numpy()


def recognised(model: nn.Module, examples: Examples) -> float:
    """The accuracy."""
    from mnemotomy.methods.classifiers.classifier import accuracy

    return accuracy(model, examples)
