"""What is left of a forget set, and what forgetting it cost: the same numbers for every kind of model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from torch import nn

from mnemotomy.engram.edit import Edit

BEYOND = "too far"
EXPLAINED = (
    f"{BEYOND}: the forgotten answers are less likely now than answers to other questions, by this share of what was "
    "known; it counts against a candidate as if it were left"
)
_SHOWN = 0.0005  # a share that does not round to 0.0 %


@dataclass(frozen=True)
class Scores:
    """One state of the model, on what is not in the moments.

    Attributes:
        left: of what was known of the forget set, in [0, 1]: 1 as before, 0 where nothing is known; the most that is
            left by any of the ways in which it is read. Overshooting, below what is not known, counts as much.
        known: the mean probability of the forgotten answers or classes.
        kept: likewise of those retained.
        hits: the share of the tokens of kept answers that are the likeliest; of retained images, the accuracy.
        kl: KL from the model before on what is retained, in nats.
        rest: ``left`` without overshooting; None where nothing can overshoot.
    """

    left: float
    known: float
    kept: float
    hits: float
    kl: float
    rest: float | None = None

    def forgotten(self) -> float:
        """1 where nothing is left."""
        return 1.0 - self.left

    @property
    def remains(self) -> float:
        """What is left of what was known."""
        return self.left if self.rest is None else self.rest

    @property
    def beyond(self) -> float:
        """How far forgotten answers are below what is not known, as a share of what was known; 0 if more remains."""
        return self.left if self.remains < self.left else 0.0

    def told(self) -> str:
        """What is left, for people; overshooting by its own name."""
        beyond = f" ({100 * self.beyond:.1f} % {BEYOND})" if self.beyond >= _SHOWN else ""
        return f"{100 * self.remains:.1f} %{beyond}"

    def said(self) -> str:
        """The same in a sentence."""
        beyond = f", {100 * self.beyond:.1f} % {BEYOND}" if self.beyond >= _SHOWN else ""
        return f"{100 * self.remains:.1f} % left{beyond}"

    def row(self) -> dict[str, float]:
        """As numbers by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Details(NamedTuple):
    """What an edit does besides its scores.

    Attributes:
        told: for the record, as JSON values.
        cautions: what of it the user should know, in words; none of it keeps a result from being saved.
    """

    told: dict[str, Any]
    cautions: Sequence[str] = ()


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

    def details(self, edit: Edit) -> Details:
        """What else an edit does."""
        return Details({})


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
