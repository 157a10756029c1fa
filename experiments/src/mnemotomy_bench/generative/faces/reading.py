"""What the classifier reads of images: the strength of each attribute, and the factors that make up a person."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.core.modules import device_of, observing
from mnemotomy_bench.generative.faces.dataset import FACTORS
from mnemotomy_bench.generative.faces.portraits import CIRCULAR, Portraits, hue_from_point
from mnemotomy_bench.metrics.identity import determination, factor_change
from mnemotomy_bench.vision.networks.attribute_classifier import AttributeClassifier


@dataclass(frozen=True)
class Reading:
    """The readings of some images.

    Attributes:
        logits: of each attribute.
        factors: in [0, 1], in the order of ``FACTORS``; None if the classifier reads none.
    """

    logits: Float[Tensor, "n k"]
    factors: Float[Tensor, "n m"] | None

    @property
    def probabilities(self) -> Float[Tensor, "n k"]:
        """The probability of each attribute."""
        return self.logits.sigmoid()

    def factors_moved(self, other: Reading) -> float | None:
        """The mean absolute change of the factors, in units of their ranges."""
        if self.factors is None or other.factors is None:
            return None
        return float(factor_change(self.factors, other.factors, CIRCULAR).mean())


def read(classifier: AttributeClassifier, images: Float[Tensor, "n c s s"], batch_size: int = 256) -> Reading:
    """Read every image once, in evaluation mode; the result is on the CPU."""
    device = device_of(classifier)
    with observing(classifier):
        parts = [classifier(batch.to(device)) for batch in images.split(batch_size)]
    logits, numbers = (torch.cat(column).float().cpu() for column in zip(*parts, strict=True))
    return Reading(logits, hue_from_point(numbers) if numbers.shape[1] else None)


def reading_quality(reading: Reading, faces: Portraits) -> dict[str, object]:
    """How reliable a reading is: the accuracy on each attribute, and R² of each factor.

    Args:
        reading: of images of ``faces``.
        faces: with what they were drawn from.
    """
    right = (reading.logits > 0) == faces.attributes.cpu()
    found: dict[str, object] = {"accuracy": right.float().mean(0).tolist()}
    if reading.factors is not None and faces.factors is not None:
        values = determination(reading.factors, faces.factors.cpu(), CIRCULAR)
        found["determination"] = dict(zip(FACTORS, values.tolist(), strict=True))
    return found
