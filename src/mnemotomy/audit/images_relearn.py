"""Whether a little training, or a small change of the weights, brings a class back."""

from __future__ import annotations

import contextlib
import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import nn

from mnemotomy.audit.attack import best, register
from mnemotomy.audit.base import Part, Reading
from mnemotomy.audit.images_case import ASKED, ImageAttack, ImageCase, as_forgotten, hits, spread
from mnemotomy.audit.images_inside import OnlyWithGold
from mnemotomy.audit.weights import pruned, quantised, with_noise
from mnemotomy.core.errors import NonFiniteError, TrainingError
from mnemotomy.core.seeds import mix
from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.classifier import cross_entropy, head_of
from mnemotomy.training.loop import Run, Update, train
from mnemotomy.training.optimiser import Optimiser

Rows = dict[str, list[tuple[float, ...]]]
Note = Callable[[str, nn.Module], None]

_UNCHANGED = "unchanged"  # the curve begins there, but it is no result of the attack
_FORGOTTEN = ", it recognises {after} of the forgotten images"


class ImageChanged(ImageAttack):
    """An attack that changes a copy of the model and then shows it forgotten images, and others for the floor."""

    part: ClassVar[Part] = "relearn"

    def read(self, model: nn.Module, case: ImageCase) -> Reading:
        """The numbers at the best strength; the curve has every strength. A change that breaks the model ends it."""
        asked = self.images(case)
        others, found, floors = as_forgotten(case.others, asked), Rows(), Rows()

        def note(name: str, changed: nn.Module) -> None:
            for rows, some in ((found, asked), (floors, others)):
                rows.setdefault(name, []).append(hits(changed, some, case.batch_size))

        note(_UNCHANGED, model)
        with contextlib.suppress(TrainingError, NonFiniteError):
            self.change(model, case, note)
        means = [{name: _mean(some) for name, some in rows.items()} for rows in (found, floors)]
        whole = best(*means)
        for rows in means:
            if len(rows) > 1:
                del rows[_UNCHANGED]
        return replace(best(*means), curve=whole.curve)

    def images(self, case: ImageCase) -> Examples:
        """The forgotten images that are shown."""
        return case.asked

    @abstractmethod
    def change(self, model: nn.Module, case: ImageCase, note: Note) -> None:
        """Call ``note`` with each strength's name and the changed model; several of one name are averaged."""


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


_EIGHT = "Lynch et al. 2024, arXiv 2402.16835; Golatkar et al. 2020, arXiv 1911.04933"


@register("image-relearn-1", "Relearning on 1 image of each class", _EIGHT, says="{title}" + _FORGOTTEN)
class ImageRelearnOne(ImageRelearn):
    """On one."""

    each: int = 1


@register("image-relearn-5", "Relearning on 5 images of each class", _EIGHT, says="{title}" + _FORGOTTEN)
class ImageRelearnFive(ImageRelearn):
    """On five."""


@register("image-relearn-20", "Relearning on 20 images of each class", _EIGHT, says="{title}" + _FORGOTTEN)
class ImageRelearnTwenty(ImageRelearn):
    """On twenty."""

    each: int = 20


@register(
    "image-relearn-last", "Relearning the last layer alone", _EIGHT,
    says="{title} on 5 images of each class" + _FORGOTTEN,
)  # fmt: skip
class ImageRelearnLast(ImageRelearn):
    """On five, by the last layer."""

    lessons: Lessons = Lessons(learning_rate=1e-2, last=True)


@register(
    "image-relearn-others", "Relearning on retained images", "Hu et al. 2024, arXiv 2406.13356",
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


@register(
    "image-quantised", "Weights in 8 and 4 bits", "Zhang et al. 2025, arXiv 2410.16454",
    says="With rounded weights" + _FORGOTTEN,
)  # fmt: skip
class ImageQuantised(ImageChanged):
    """Rounds the weights.

    Attributes:
        bits: each of them.
    """

    bits: tuple[int, ...] = (8, 4)

    def change(self, model: nn.Module, case: ImageCase, note: Note) -> None:
        for bits in self.bits:
            note(f"{bits} bits", quantised(model, bits))


@register(
    "image-pruned", "Pruned weights", "Jia et al. 2023, arXiv 2304.04934",
    says="Without the smallest weights" + _FORGOTTEN,
)  # fmt: skip
class ImagePruned(ImageChanged):
    """Removes the smallest weights of each matrix.

    Attributes:
        shares: of the weights.
    """

    shares: tuple[float, ...] = (0.1, 0.3)

    def change(self, model: nn.Module, case: ImageCase, note: Note) -> None:
        for share in self.shares:
            note(f"{100 * share:g} %", pruned(model, share))


@register(
    "image-noise", "Noise on the weights", "Tice et al. 2024, arXiv 2412.01784",
    says="With noise on the weights" + _FORGOTTEN,
)  # fmt: skip
class ImageNoise(ImageChanged):
    """Adds noise to the weights.

    Attributes:
        scales: of the noise, as a share of the root mean square of each matrix.
        draws: over which each image's number is averaged.
    """

    scales: tuple[float, ...] = (0.05, 0.1)
    draws: int = 2

    def change(self, model: nn.Module, case: ImageCase, note: Note) -> None:
        for number, scale in enumerate(self.scales):
            for draw in range(self.draws):
                note(f"{scale:g}", with_noise(model, scale, mix(case.seed, number, draw)))


def first_of_each(examples: Examples, count: int) -> tuple[Examples, Examples]:
    """The first ``count`` images of each class, and the rest."""
    chosen = torch.zeros(len(examples), dtype=torch.bool)
    for label in examples.labels.unique():
        chosen[torch.nonzero(examples.labels == label)[:count, 0].cpu()] = True
    return examples[torch.nonzero(chosen)[:, 0]], examples[torch.nonzero(~chosen)[:, 0]]


def _mean(rows: list[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))
