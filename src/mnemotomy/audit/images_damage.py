"""What forgetting a class broke: other classes, those nearest to it, and calibration."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mnemotomy.audit.attack import register
from mnemotomy.audit.base import Reading
from mnemotomy.audit.damage import Damage
from mnemotomy.audit.images_case import ImageCase, read_logits, right, spread
from mnemotomy.data.examples import Examples
from mnemotomy.methods.base import Models

_MOST = 2000  # retained images
_NEAREST = 2  # classes
_BINS = 10


class ImageDamage(Damage):
    """Damage to a classifier."""

    models: ClassVar[Models] = "classifiers"


@register(
    "image-retained", "Retained images recognised", "Golatkar et al. 2020, arXiv 1911.04933",
    unit="share of images recognised",
)  # fmt: skip
class ImageRetained(ImageDamage):
    """The accuracy on the retain set, and on each of its classes."""

    def kept(self, case: ImageCase) -> Examples:
        """The images."""
        return spread(case.retain, _MOST)

    def read(self, model: nn.Module, case: ImageCase) -> Reading:
        kept = self.kept(case)
        found = read_logits(model, kept.inputs, case.batch_size)
        values = torch.tensor(right(found, kept.labels))
        labels = kept.labels.cpu()
        curve = {case.names[one]: float(values[labels == one].mean()) for one in labels.unique().tolist()}
        lost = torch.nonzero(values == 0)[:8, 0].tolist()
        shown = [
            {"image of": case.names[int(labels[one])], "taken for": case.names[int(found[one].argmax())]}
            for one in lost
        ]
        return Reading(tuple(values.tolist()), curve, shown=tuple(shown))


@register(
    "image-nearest", "Classes nearest to what was forgotten", "arXiv 2607.09236", unit="share of images recognised"
)
class ImageNearest(ImageRetained):
    """The retained classes that the model before was most likely to take forgotten images for."""

    def lacks(self, case: ImageCase) -> str | None:
        return None if len(self.kept(case)) else "the retain set has no images of the nearest classes"

    def kept(self, case: ImageCase) -> Examples:
        assert case.reference is not None
        chances = read_logits(case.reference, case.asked.inputs, case.batch_size).softmax(-1).mean(0)
        chances[case.forget.labels.unique().cpu()] = -1.0
        there = torch.zeros_like(chances, dtype=torch.bool)
        there[case.retain.labels.unique().cpu()] = True
        nearest = chances.where(there, -1.0).topk(min(_NEAREST, int(there.sum()))).indices
        return spread(case.retain[torch.nonzero(torch.isin(case.retain.labels.cpu(), nearest))[:, 0]], _MOST)


@register(
    "image-calibration", "Calibration error on retained images", "Guo et al. 2017, arXiv 1706.04599",
    unit="share by which confidence differs from accuracy", sign=1,
)  # fmt: skip
class ImageCalibration(ImageDamage):
    """The expected calibration error: each image has the gap of its bin of confidence."""

    def read(self, model: nn.Module, case: ImageCase) -> Reading:
        kept = spread(case.retain, _MOST)
        found = read_logits(model, kept.inputs, case.batch_size)
        return Reading(tuple(gaps(found, torch.tensor(right(found, kept.labels))).tolist()))


def gaps(found: Float[Tensor, "n classes"], correct: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """By how much mean confidence and accuracy differ in each image's bin; their mean is the calibration error."""
    confidence = found.double().softmax(-1).max(-1).values
    bins = (confidence * _BINS).long().clamp(max=_BINS - 1)
    result = torch.zeros(len(found), dtype=torch.float64)
    for one in bins.unique():
        mine = bins == one
        result[mine] = (confidence[mine].mean() - correct[mine].mean()).abs()
    return result
