"""Attacks on a classifier that show it images and read what it answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.audit.attack import best, register
from mnemotomy.audit.base import Part, Reading
from mnemotomy.audit.images_case import ImageAttack, ImageCase, hits, read_logits, right
from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.classifier import reciprocal_ranks

Images = Float[Tensor, "n c h w"]
_SHOWN = 8


class ImageAsking(ImageAttack):
    """The floor is how often other images are taken for the forgotten classes."""

    part: ClassVar[Part] = "asking"
    says: ClassVar[str] = "{title}, it recognises {after} of the forgotten images"


@register("image-plain", "Shown as they are", "Golatkar et al. 2020, arXiv 1911.04933")
class ImagePlain(ImageAsking):
    """The images as they are."""

    def read(self, model: nn.Module, case: ImageCase) -> Reading:
        asked = case.asked
        found = read_logits(model, asked.inputs, case.batch_size)
        names = zip(asked.labels.tolist(), found.argmax(-1).tolist(), strict=True)
        shown = [{"image of": case.names[own], "taken for": case.names[taken]} for own, taken in names]
        values, floor = right(found, asked.labels), hits(model, case.others, case.batch_size)
        return Reading(values, floor=floor, shown=tuple(shown[:_SHOWN]))


@register("image-unseen", "Other images of the classes", "Golatkar et al. 2020, arXiv 1911.04933")
class ImageUnseen(ImageAsking):
    """Images of the forgotten classes that no model was trained on."""

    def lacks(self, case: ImageCase) -> str | None:
        return None if case.holdout is not None else "a hold-out: images of the forgotten classes, not trained on"

    def read(self, model: nn.Module, case: ImageCase) -> Reading:
        assert case.holdout is not None
        floor = hits(model, case.others, case.batch_size)
        return Reading(hits(model, case.holdout, case.batch_size), floor=floor)


@register("image-augmented", "Shifted, mirrored, turned, or noisy", "Shorten and Khoshgoftaar 2019, J. Big Data 6:60")
class ImageAugmented(ImageAsking):
    """The images changed in several ways; the best one counts.

    Attributes:
        shift: as a share of the side.
        degrees: to turn by, both ways.
        noise: as a share of the standard deviation of all pixels.
    """

    shift: float = 0.08
    degrees: float = 12.0
    noise: float = 0.2

    def lacks(self, case: ImageCase) -> str | None:
        return None if case.forget.inputs.dim() == 4 else "images with channels, height and width"

    def read(self, model: nn.Module, case: ImageCase) -> Reading:
        rows, floors = (
            {name: hits(model, Examples(way(some.inputs), some.labels), case.batch_size)
             for name, way in self._ways(case.seed).items()}
            for some in (case.asked, case.others)
        )  # fmt: skip
        return best(rows, floors)

    def _ways(self, seed: int) -> Mapping[str, Callable[[Images], Images]]:
        def shifted(images: Images) -> Images:
            pixels = max(1, round(self.shift * images.shape[-1]))
            return nn.functional.pad(images, (pixels,) * 4, mode="replicate")[..., : -2 * pixels, : -2 * pixels]

        def noisy(images: Images) -> Images:
            draw = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)).to(images)
            return images + self.noise * images.std() * draw

        return {
            "shifted": shifted,
            "mirrored": lambda images: images.flip(-1),
            "turned left": lambda images: turned(images, self.degrees),
            "turned right": lambda images: turned(images, -self.degrees),
            "noisy": noisy,
        }


@register(
    "image-second",
    "The rank of the class",
    "Chundawat et al. 2023, arXiv 2205.08096",
    unit="1 / rank of the class",
    percent=False,
    says="The class of a forgotten image has a mean reciprocal rank of {after}",
)
class ImageSecond(ImageAsking):
    """Whether the class is still the second or third choice: a refusal moves it there, or to the end."""

    def read(self, model: nn.Module, case: ImageCase) -> Reading:
        values, floor = (
            tuple(reciprocal_ranks(read_logits(model, some.inputs, case.batch_size), some.labels).tolist())
            for some in (case.asked, case.others)
        )
        return Reading(values, floor=floor)


def turned(images: Images, degrees: float) -> Images:
    """The images turned about their centre; what lies outside repeats the border."""
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]])
    grid = nn.functional.affine_grid(turn.to(images).expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
