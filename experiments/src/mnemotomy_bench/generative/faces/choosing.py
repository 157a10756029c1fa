"""The engram settings for each attribute, chosen on validation faces, without the exact ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mnemotomy.core.progress import progress_bar
from mnemotomy_bench.generative.faces.engrams import Setting, Shift
from mnemotomy_bench.generative.faces.measure import others_changed
from mnemotomy_bench.generative.faces.subject import FaceSubject


@dataclass(frozen=True)
class Trial:
    """One setting for one attribute at α = 1, on validation faces that have it.

    Attributes:
        place: index of the setting among those tried.
        left: the attribute's mean probability.
        others: mean absolute change of the other attributes' probabilities.
        factors: mean absolute change of the factors, 0 if none are read.
    """

    place: int
    left: float
    others: float
    factors: float

    @property
    def cost(self) -> float:
        """What is not erased plus what is disturbed; smaller is better."""
        return self.left + self.others + self.factors


def trials(subject: FaceSubject, place: int, settings: Sequence[Setting | Shift]) -> list[Trial]:
    """Every setting tried on one attribute."""
    images = subject.validation.having(place).images
    before = subject.read(subject.draw(images))
    found = []
    name = f"settings for {subject.case.attributes[place]}"
    with progress_bar(name, len(settings)) as advance:
        for number, setting in enumerate(settings):
            after = subject.read(subject.draw(images, -1.0 * subject.engrams.engram(place, setting)))
            moved = before.factors_moved(after) or 0.0
            left = float(after.probabilities[:, place].mean())
            found.append(Trial(number, left, others_changed(before, after, [place]), moved))
            advance(1)
    return found


def best(found: Sequence[Trial]) -> Trial:
    """The trial with the least cost."""
    return min(found, key=lambda trial: trial.cost)
