"""What is left of a forget set, and what forgetting it cost: the same numbers for every kind of model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from mnemotomy.engram.edit import Edit


@dataclass(frozen=True)
class Scores:
    """One state of the model, on what is not in the moments.

    Attributes:
        left: of what was known of the forget set, in [0, 1]: 1 as before, 0 where nothing is known; the most that is
            left by any of the ways in which it is read.
        known: the mean probability of the forgotten answers or classes.
        kept: likewise of those retained.
        hits: the share of the tokens of kept answers that are the likeliest; of retained images, the accuracy.
        kl: KL from the model before on what is retained, in nats.
    """

    left: float
    known: float
    kept: float
    hits: float
    kl: float

    def forgotten(self) -> float:
        """1 where nothing is left."""
        return 1.0 - self.left

    def row(self) -> dict[str, float]:
        """As numbers by name."""
        return asdict(self)


class Measure(ABC):
    """Compares any state of a model with the model before.

    Attributes:
        model: edited in place and restored by the search.
        before: the unedited model's scores.
    """

    model: nn.Module
    before: Scores

    @abstractmethod
    def scores(self) -> Scores:
        """The present state of the model."""

    def details(self, edit: Edit) -> dict[str, Any]:
        """What else the record says of an edit, as JSON values."""
        return {}


@dataclass(frozen=True)
class Words:
    """How results of one kind of model are told.

    Attributes:
        of: the kind of model.
        hits: what ``Scores.hits`` is a share of.
        retain: what to retain more of.
        forget: what to give more of, or otherwise, where much is left.
    """

    of: str
    hits: str
    retain: str
    forget: str


TEXTS = Words(
    "language model",
    "the kept answers' tokens",
    "give more neighbours of it to retain, or fewer things to forget",
    "give the facts in more phrasings",
)
IMAGES = Words(
    "image classifier",
    "the accuracy on retained images",
    "give more images of similar classes to retain, or fewer classes to forget",
    "give more images of what is to be forgotten",
)
