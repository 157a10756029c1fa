"""Images are scaled and cropped as a model's own processor does it, or the processor is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_vit import save_vit
from transformers import (
    BitImageProcessor,
    ConvNextImageProcessor,
    DeiTImageProcessor,
    LevitImageProcessor,
    MobileViTImageProcessor,
    ResNetConfig,
    ResNetForImageClassification,
    ViTImageProcessor,
)

from mnemotomy.core.errors import ModelError
from mnemotomy_bench.classwise.image_classifier import Classifier
from mnemotomy_bench.vision.images import load_images

pytest.importorskip("sklearn", reason="scikit-learn is not installed; it comes with the extra demo")


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of smooth pictures of 48×32, of ten classes."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed; it comes with the extra vision")
    random = np.random.default_rng(0)
    rough = [Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8)) for _ in range(10)]
    rows = {"image": [one.resize((48, 32), Image.Resampling.BICUBIC) for one in rough], "label": range(10)}
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)}
    datasets.Dataset.from_dict(rows, datasets.Features(features)).to_parquet(tmp_path / "data" / "test.parquet")
    return tmp_path / "data"


BILINEAR = Image.Resampling.BILINEAR
OWN = {"image_mean": [0.3, 0.4, 0.5], "image_std": [0.2, 0.3, 0.4]}


PROCESSORS = {
    "bilinear": (BitImageProcessor(size={"shortest_edge": 12}, crop_size=8, resample=BILINEAR, **OWN), (12, 8), 1e-6),
    "bicubic": (BitImageProcessor(size={"shortest_edge": 12}, crop_size=8, **OWN), (12, 8), 0.1),
    "crop_pct": (ConvNextImageProcessor(size={"shortest_edge": 8}, crop_pct=0.8, **OWN), (10, 8), 0.1),
    "pixels from 0 to 1": (
        BitImageProcessor(size={"shortest_edge": 8}, crop_size=8, resample=BILINEAR, do_normalize=False), (8, 8), 1e-6
    ),
    "pixels from 0 to 255": (
        BitImageProcessor(size={"shortest_edge": 12}, crop_size=8, resample=BILINEAR, do_rescale=False, **OWN),
        (12, 8), 1e-6,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("processor", "scaled", "tolerance"), PROCESSORS.values(), ids=PROCESSORS)
def test_images_are_scaled_and_cropped_as_the_processor_says(
    photographs: Path, tmp_path: Path, processor: Any, scaled: tuple[int, int], tolerance: float
) -> None:
    """Exactly where it scales bilinearly, else to a tenth of the pixels' deviation."""
    classifier = Classifier(save_vit(tmp_path / "vit", processor))
    assert (classifier.side, classifier.crop) == scaled
    found, _ = next(classifier.batches(classifier.load(str(photographs), "test"), 10))
    rows = pytest.importorskip("datasets").Dataset.from_parquet(str(photographs / "test.parquet"))
    expected = processor(images=list(rows["image"]), return_tensors="pt")["pixel_values"]
    assert found.shape == expected.shape == (10, 3, 8, 8)
    assert float((found - expected).abs().mean() / expected.std()) < tolerance


def test_a_processor_that_distorts_is_followed_on_square_images(tmp_path: Path) -> None:
    """DeiT's, on digits: it scales to 12×12 and crops to 8×8."""
    processor = DeiTImageProcessor(size={"height": 12, "width": 12}, crop_size={"height": 8, "width": 8}, **OWN)
    classifier = Classifier(save_vit(tmp_path / "vit", processor))
    assert (classifier.side, classifier.crop) == (12, 8)
    found, _ = next(classifier.batches(classifier.load("digits", "test"), 50))
    pictures = [Image.fromarray(one[0].numpy()).convert("RGB") for one in load_images("digits", "test").inputs[:50]]
    expected = processor(images=pictures, return_tensors="pt")["pixel_values"]
    assert float((found - expected).abs().mean() / expected.std()) < 0.15  # bicubic, of few and sharp pixels


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        (ViTImageProcessor(size={"height": 10, "width": 10}), r"does not take the 10×10 pixels .* image_size, 8"),
        (ViTImageProcessor(size={"height": 8, "width": 9}), "must scale to a square or by the shorter side"),
        (BitImageProcessor(size={"shortest_edge": 8}, crop_size=10), "then crop to a square"),
        (BitImageProcessor(size={"shortest_edge": 8}, crop_size=8, do_resize=False), "set do_resize"),
        (MobileViTImageProcessor(size={"shortest_edge": 8}, crop_size=8), "MobileViT.* does more than scale, crop"),
        (LevitImageProcessor(size={"shortest_edge": 8}, crop_size=8), "Levit.* does more than scale, crop"),
    ],
)
def test_a_processor_that_is_not_followed_is_refused(tmp_path: Path, processor: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Classifier(save_vit(tmp_path / "vit", processor))


def test_a_model_that_takes_any_size_reads_the_size_of_the_crop(tmp_path: Path) -> None:
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], num_labels=10)
    ResNetForImageClassification(config).save_pretrained(tmp_path)
    BitImageProcessor(size={"shortest_edge": 40}, crop_size=32).save_pretrained(tmp_path)
    assert Classifier(str(tmp_path)).load("digits", "test").inputs.shape[1:] == (3, 32, 32)
