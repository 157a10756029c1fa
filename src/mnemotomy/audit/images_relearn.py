"""Whether a little training, or a small change of the weights, brings a class back."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mnemotomy.audit.attack import register
from mnemotomy.audit.changing import (
    BENIGN,
    EIGHT,
    NOISE,
    PRUNED,
    QUANTISED,
    Changing,
    Noising,
    Note,
    Pruning,
    Quantising,
    Row,
)
from mnemotomy.audit.images_case import ASKED, ImageAttack, ImageCase, as_forgotten, hits, spread
from mnemotomy.audit.images_inside import OnlyWithGold
from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.classifier import cross_entropy, head_of
from mnemotomy.training.loop import Run, Update, train
from mnemotomy.training.optimiser import Optimiser

_RELEARNING = EIGHT + "; Golatkar et al. 2020, arXiv 1911.04933"
_FORGOTTEN = ", it recognises {after} of the forgotten images"


class ImageChanged(Changing, ImageAttack):
    """An attack that changes a copy of the model and then shows it forgotten images."""

    def images(self, case: ImageCase) -> Examples:
        """The forgotten images that are shown."""
        return case.asked

    def sets(self, case: ImageCase) -> tuple[Examples, list[Examples]]:
        asked = self.images(case)
        return asked, [as_forgotten(case.others, asked)]

    def numbers(self, model: nn.Module, case: ImageCase, sets: Sequence[Examples]) -> list[Row]:
        return [hits(model, some, case.batch_size) for some in sets]


@dataclass(frozen=True)
class Lessons:
    """AdamW on a few images, all in every update, in evaluation mode: so few tell nothing of batch statistics.

    Attributes:
        steps: updates.
        learning_rate: of all of them.
        last: train the last layer alone.
        readings: how often the model is noted, evenly over the steps.
    """

    steps: int = 20
    learning_rate: float = 1e-3
    last: bool = False
    readings: int = 4

    def teach(self, model: nn.Module, images: Examples, note: Note) -> None:
        """Train a copy.

        Raises:
            TrainingError: a loss or weight is not finite.
        """
        learner = copy.deepcopy(model).eval().float().requires_grad_(not self.last)
        trained = head_of(learner, images).requires_grad_(True) if self.last else learner
        marks = {round(self.steps * number / self.readings) for number in range(1, self.readings + 1)}

        def updates(*_: Any) -> Iterator[Update[Examples]]:
            for step in range(1, self.steps + 1):
                yield Update([images])
                if step in marks:  # the update is done when the next one is asked for
                    note(f"step {step}", learner)

        optimizer = torch.optim.AdamW(trained.parameters(), lr=self.learning_rate, weight_decay=0.0)
        run = Run("relearning", epochs=1, updates=self.steps, evaluating=True, progress=False)
        train(learner, updates, cross_entropy, Optimiser(optimizer), run)


@dataclass(frozen=True)
class ImageRelearn(ImageChanged, OnlyWithGold):
    """Trains on some images of each class, forgotten and retained, and shows other forgotten ones.

    Attributes:
        each: images of each class.
        lessons: how.
    """

    each: int = 5
    lessons: Lessons = Lessons()

    def lacks(self, case: ImageCase) -> str | None:
        least = int(case.forget.labels.unique(return_counts=True)[1].min())
        return None if least >= 2 * self.each else f"at least {2 * self.each} images of each forgotten class"

    def images(self, case: ImageCase) -> Examples:
        _, rest = first_of_each(case.forget, self.each)
        return spread(rest, ASKED)

    def change(self, model: nn.Module, case: ImageCase, note: Note) -> None:
        own, _ = first_of_each(case.forget, self.each)
        others, _ = first_of_each(case.retain, self.each)
        both = Examples(torch.cat([own.inputs, others.inputs]), torch.cat([own.labels, others.labels]))
        self.lessons.teach(model, both, note)


@register("image-relearn-1", "Relearning on 1 image of each class", _RELEARNING, says="{title}" + _FORGOTTEN)
class ImageRelearnOne(ImageRelearn):
    """On one."""

    each: int = 1


@register("image-relearn-5", "Relearning on 5 images of each class", _RELEARNING, says="{title}" + _FORGOTTEN)
class ImageRelearnFive(ImageRelearn):
    """On five."""


@register("image-relearn-20", "Relearning on 20 images of each class", _RELEARNING, says="{title}" + _FORGOTTEN)
class ImageRelearnTwenty(ImageRelearn):
    """On twenty."""

    each: int = 20


@register(
    "image-relearn-last", "Relearning the last layer alone", _RELEARNING,
    says="{title} on 5 images of each class" + _FORGOTTEN,
)  # fmt: skip
class ImageRelearnLast(ImageRelearn):
    """On five, by the last layer."""

    lessons: Lessons = Lessons(learning_rate=1e-2, last=True)


@register(
    "image-relearn-others", "Relearning on retained images", BENIGN,
    says="Trained on retained images alone" + _FORGOTTEN,
)  # fmt: skip
class ImageRelearnOthers(ImageChanged):
    """On what does not show the forgotten classes, which teaches nothing about them.

    Attributes:
        images_each: of each class.
        lessons: how.
    """

    images_each: int = 20
    lessons: Lessons = Lessons(steps=40)

    def change(self, model: nn.Module, case: ImageCase, note: Note) -> None:
        self.lessons.teach(model, first_of_each(case.retain, self.images_each)[0], note)


@register("image-quantised", "Weights in 8 and 4 bits", QUANTISED, says="With rounded weights" + _FORGOTTEN)
class ImageQuantised(Quantising, ImageChanged):
    """Rounds the weights."""


@register("image-pruned", "Pruned weights", PRUNED, says="Without the smallest weights" + _FORGOTTEN)
class ImagePruned(Pruning, ImageChanged):
    """Removes the smallest weights of each matrix."""


@register("image-noise", "Noise on the weights", NOISE, says="With noise on the weights" + _FORGOTTEN)
class ImageNoise(Noising, ImageChanged):
    """Adds noise to the weights."""


def first_of_each(examples: Examples, count: int) -> tuple[Examples, Examples]:
    """The first ``count`` images of each class, and the rest."""
    chosen = torch.zeros(len(examples), dtype=torch.bool)
    for label in examples.labels.unique():
        chosen[torch.nonzero(examples.labels == label)[:count, 0].cpu()] = True
    return examples[torch.nonzero(chosen)[:, 0]], examples[torch.nonzero(~chosen)[:, 0]]
