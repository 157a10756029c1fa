"""What an audit of a classifier shows to every model, and how attacks read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mnemotomy.audit.attack import Attack
from mnemotomy.core.fingerprints import digest
from mnemotomy.core.keys import key
from mnemotomy.core.modules import device_of, observing
from mnemotomy.data.examples import Examples
from mnemotomy.data.image_sets import apart_from
from mnemotomy.methods.base import Models
from mnemotomy.methods.classifiers.classifier import logits

ASKED = 300
"""The most forgotten images that an attack reads, and as many retained ones, spread evenly."""


@dataclass(frozen=True)
class ImageCase:
    """What an audit of a classifier asks about.

    Attributes:
        forget: images to be forgotten, best those that the model was trained on.
        retain: images of other classes, best those that the edit has not read.
        holdout: images of the forgotten classes that no model was trained on; None without.
        names: of the classes.
        seed: for everything drawn at random.
        batch_size: the most images in a batch.
        reference: the model before forgetting.
        alike: whether the last layers of all models read features of one width.
        gold: whether there is a model that never saw the forget set.
    """

    forget: Examples
    retain: Examples
    holdout: Examples | None
    names: Sequence[str]
    seed: int = 0
    batch_size: int = 32
    reference: nn.Module | None = field(default=None, compare=False, repr=False)
    alike: bool = True
    gold: bool = False

    @property
    def without_holdout(self) -> ImageCase:
        """The same, for what reads no hold-out."""
        return replace(self, holdout=None)

    @property
    def asked(self) -> Examples:
        """Forgotten images to ask about."""
        return spread(self.forget, ASKED)

    @property
    def others(self) -> Examples:
        """Images of other classes with the labels of forgotten ones: where nothing is known."""
        return as_forgotten(spread(apart_from(self.retain, self.forget), ASKED), self.asked)

    def digest(self) -> str:
        """A hash of what is asked and how."""
        sets = [part for part in (self.forget, self.retain, self.holdout) if part is not None]
        tensors = [[digest(part.inputs), digest(part.labels)] for part in sets]
        return key(tensors, list(self.names), self.seed, self.batch_size, self.alike, self.gold)


class ImageAttack(Attack):
    """An attack on classifiers, by one number per forgotten image."""

    models: ClassVar[Models] = "classifiers"
    unit: ClassVar[str] = "share of images recognised"


def spread(examples: Examples, count: int) -> Examples:
    """At most ``count`` of them, evenly from the first on."""
    count = min(count, len(examples))
    return examples[torch.arange(count) * len(examples) // max(1, count)]


def as_forgotten(examples: Examples, forgotten: Examples) -> Examples:
    """The images with labels of the forgotten ones, by turns."""
    return Examples(examples.inputs, forgotten.labels[torch.arange(len(examples)) % len(forgotten)])


def read_logits(
    model: nn.Module, inputs: Float[Tensor, n * shape], batch_size: int = 128
) -> Float[Tensor, "n classes"]:
    """The logits in evaluation mode, in float32 on the CPU."""
    with observing(model):
        return torch.cat([logits(model, part.to(device_of(model))).float().cpu() for part in inputs.split(batch_size)])


def hits(model: nn.Module, examples: Examples, batch_size: int = 128) -> tuple[float, ...]:
    """1 for each image that the model takes for its label's class, else 0."""
    return right(read_logits(model, examples.inputs, batch_size), examples.labels)


def right(found: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> tuple[float, ...]:
    """1 where the largest logit is the label's, else 0."""
    return tuple((found.argmax(-1) == labels.cpu()).double().tolist())
