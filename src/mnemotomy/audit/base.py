"""What an audit consists of: a case, what an attack reads from a model, and what it finds between models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args

from torch import nn

from mnemotomy.core.precision import Precision
from mnemotomy.text.probes import Probe
from mnemotomy.text.template import OPEN_UNLEARNING, Template

Part = Literal["asking", "inside", "membership", "relearn", "damage"]
PARTS: tuple[Part, ...] = get_args(Part)

TITLES: Mapping[Part, str] = {
    "asking": "Asking",
    "inside": "Inside the model",
    "membership": "Membership",
    "relearn": "Relearning and damaging the weights",
    "damage": "Damage",
}

AUC = (
    "An AUC says how often the attack picks the forgotten one of a pair with one that was never learned: at 50 % it "
    "cannot tell them apart, at 100 % it always can."
)

Use = Literal["read", "apart", "unread"]
"""What an attack does with a hold-out: read it with the forget set, or in its place, so that it is the floor."""

Role = Literal["before", "after", "gold"]
"""The model before forgetting, the model under audit, and a model that never learned the forget set."""


@dataclass(frozen=True)
class Limit:
    """Where a judge of fluency divides texts from word salad.

    Attributes:
        value: the least score of a fluent text.
        right: the share of texts and of word salad that it tells right by that, in the kind that it tells worst.
        kind: of these texts.
    """

    value: float
    right: float
    kind: str


@dataclass(frozen=True)
class Case:
    """What an audit asks about; the same for every model.

    Attributes:
        tokenizer: of all models.
        forget: what is to be forgotten.
        retain: what is to be kept; not used by the edit under audit, if the user keeps it apart.
        holdout: like the forget set's, but no model has learned them: the level of ignorance. May be empty.
        texts: general texts, for perplexity.
        template: what stands around questions.
        seed: for everything drawn at random.
        batch_size: the most rows in a batch.
        precision: of writing, of judging what was written, and of copies that are trained or changed; else models are
            read at the weights' own.
        reference: the model before forgetting.
        limit: of fluency, if it is known.
    """

    tokenizer: Any
    forget: Sequence[Probe]
    retain: Sequence[Probe] = ()
    holdout: Sequence[Probe] = ()
    texts: Sequence[str] = ()
    template: Template = OPEN_UNLEARNING
    seed: int = 0
    batch_size: int = 32
    precision: Precision = "no"
    reference: nn.Module | None = field(default=None, compare=False, repr=False)
    limit: Limit | None = field(default=None, compare=False, repr=False)

    @property
    def without_holdout(self) -> Case:
        """The same, for what reads no hold-out."""
        return replace(self, holdout=())

    @property
    def unseen(self) -> Case:
        """The hold-out in place of the forget set, and no more questions of it than of that."""
        return replace(self, forget=self.holdout[: len(self.forget)], holdout=())


@dataclass(frozen=True)
class Sample:
    """What a model wrote to one question; of several ways to ask, or of several samples, what counts most.

    Attributes:
        place: of the question in its set.
        question: as it was asked.
        answer: the true one.
        written: by the model.
        value: what it counts, in [0, 1].
    """

    place: int
    question: str
    answer: str
    written: str
    value: float


@dataclass(frozen=True)
class Reading:
    """What one attack read from one model.

    Attributes:
        values: one number per forgotten question (or per example of another set), in the attack's unit.
        curve: the mean by k, block, step or bits, if the attack has such a scale.
        floor: the same numbers where nothing is known (hold-out questions, chance), if the attack reads them.
        shown: examples for the report, where nothing was written: question, answer, what was found.
        seconds: that reading took.
        sizes: the values and the floor by number of samples, if several were drawn for a question.
        other: the numbers for answers to other questions of the forget set and of the hold-out, if both were read.
        samples: what the model wrote to each question.
        unseen: the same for the hold-out.
    """

    values: tuple[float, ...]
    curve: Mapping[str, float] = field(default_factory=dict)
    floor: tuple[float, ...] = ()
    shown: tuple[Mapping[str, str], ...] = ()
    seconds: float = 0.0
    sizes: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)
    other: tuple[tuple[float, ...], ...] = ()
    samples: tuple[Sample, ...] = ()
    unseen: tuple[Sample, ...] = ()

    def above(self, unseen: Reading) -> Reading:
        """With the numbers that were read of a hold-out as the floor."""
        sizes = {
            size: (values, unseen.sizes[size][0], floor, unseen.sizes[size][1])
            for size, (values, floor) in self.sizes.items()
        }
        seconds = self.seconds + unseen.seconds
        return replace(
            self,
            floor=unseen.values,
            sizes=sizes,
            seconds=seconds,
            other=(self.floor, unseen.floor),
            unseen=unseen.samples,
        )

    def of(self, size: str) -> Reading:
        """The numbers for so many samples."""
        values, floor, *other = self.sizes[size]
        return replace(self, values=values, floor=floor, other=tuple(other))


class Interval(NamedTuple):
    """A mean with its 95 % confidence interval."""

    value: float
    low: float
    high: float


class Likeness(NamedTuple):
    """How alike a hold-out is to the forget set, by what an attack finds of the answers to other questions of each set.

    Nothing links them to the questions, so the form of the answers is all that tells the sets apart.

    Attributes:
        forget, holdout: the mean of each.
        gap: their difference, above 0 if the hold-out is harder.
    """

    forget: float
    holdout: float
    gap: Interval

    @property
    def differ(self) -> bool:
        """Whether the sets differ beyond doubt."""
        return not self.gap.low <= 0.0 <= self.gap.high


@dataclass(frozen=True)
class Finding:
    """What one attack shows between the models.

    Attributes:
        attack, title, part, paper, unit: the attack's.
        means: by role, and ``floor`` where nothing is known.
        trace: the share of what the model knew before that the attack still gets,
            ``(after − floor) / (before − floor)`` with each model's own floor, and its interval; None if the model did
            not know it before either.
        sentence: the finding in plain words.
        change: ``after − before``.
        harm: whether the finding is damage.
        curves: by role.
        shown: examples: what each model wrote to some questions and what that counted as, or what was found in the
            model under audit.
        seconds: that reading the models took.
        questions: how many the means are over; 0 if that is not told.
        likeness: of the hold-out to the forget set, if the floor is from a hold-out.
        unjudged: why the number that was asked for is not there, and these stand in its place; else empty.
    """

    attack: str
    title: str
    part: Part
    paper: str
    unit: str
    means: Mapping[str, Interval]
    trace: Interval | None
    sentence: str
    change: Interval | None = None
    harm: bool = False
    curves: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    shown: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0
    questions: int = 0
    likeness: Likeness | None = None
    unjudged: str = ""


def example(probe: Probe, **what: str) -> dict[str, str]:
    """An example for the report: question, answer, and what the attack saw."""
    return {"question": probe.question, "answer": probe.answer, **what}
