"""A request to forget: what goes into the moments, and what is kept apart to measure on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import nn

from mnemotomy.core.errors import ConceptError, DataError
from mnemotomy.core.scripts import word_ends
from mnemotomy.forget.scores import TEXTS, Words
from mnemotomy.text.probes import Probe, probes_of
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import OPEN_UNLEARNING, Template

QUESTIONS = ("Here is a question for you. {}", "{} Please answer.", "Let me ask you something: {}")
STEMS = ("We all learned at school that {}", "As the saying goes, {}", "He wrote in his notes: {}")
"""Other words for questions, and for texts that the answer continues; an audit has words of its own."""

KEPT_APART = 0.2
"""The share of the retain set that is measured on and stays out of the moments."""

MOST_KEPT_APART = 64
MOST_FORGET = 48
"""Forgotten questions to measure on; more are drawn at random."""


@dataclass(frozen=True)
class Request:
    """One request to forget.

    Attributes:
        model: a causal language model of transformers; it stays as it is.
        tokenizer: the model's.
        forget: the forget set, all of it for the moments.
        retain: the part of the retain set for the moments.
        checks: the other part.
        beside: neighbours of the forget set, neither in the moments nor in the limits; where a retain set was given.
        template: what stands around questions and answers.
        seed: for everything drawn at random.
        notes: what was added or left out, for the record.
    """

    model: nn.Module
    tokenizer: Any
    forget: Sequence[TextExample]
    retain: Sequence[TextExample]
    checks: Sequence[TextExample]
    template: Template = OPEN_UNLEARNING
    seed: int = 0
    notes: tuple[str, ...] = ()
    beside: Sequence[TextExample] = ()
    words: ClassVar[Words] = TEXTS

    def asked(self) -> list[list[Probe]]:
        """The forget set as questions: as they are, and by each rewording; a line that cannot be asked is left out.

        Raises:
            DataError: no line can be asked.
        """
        probes = self.askable(self.forget)
        if not probes:
            raise DataError("nothing of the forget set can be asked: give questions with answers, or longer texts")
        drawn = random.Random(self.seed).sample(probes, MOST_FORGET) if len(probes) > MOST_FORGET else probes
        return [drawn, *reworded(drawn)]

    def kept(self) -> list[Probe]:
        """The examples kept apart, as questions."""
        return self.askable(self.checks)

    def audited(self) -> tuple[list[Probe], list[Probe]]:
        """What an audit asks about: the forget set, and the examples kept apart."""
        return self.askable(self.forget), self.kept()

    def askable(self, examples: Sequence[TextExample]) -> list[Probe]:
        """The lines that can be asked, as questions."""
        return [probe for example in examples for probe in _asked(example, self.template)]


def split(examples: Sequence[TextExample], seed: int) -> tuple[list[TextExample], list[TextExample]]:
    """Examples for the moments, and some kept apart, drawn at random from those that can be asked.

    Raises:
        ConceptError: there are fewer than two examples.
        DataError: none can be asked.
    """
    if len(examples) < 2:
        raise ConceptError("the retain set needs at least two examples, one of them to measure on; give more")
    askable = [place for place, one in enumerate(examples) if _asked(one, OPEN_UNLEARNING)]
    if not askable:
        raise DataError("nothing of the retain set can be asked: give questions with answers, or longer texts")
    apart = min(MOST_KEPT_APART, len(askable), max(1, round(KEPT_APART * len(examples))))
    places = set(random.Random(seed).sample(askable, apart))
    return (
        [one for place, one in enumerate(examples) if place not in places],
        [one for place, one in enumerate(examples) if place in places],
    )


def _asked(example: TextExample, template: Template) -> list[Probe]:
    """The example as a question; none for a word alone or a long conversation, which enter the moments all the same."""
    try:
        return probes_of([example], template)
    except DataError:
        return []


def reworded(probes: Sequence[Probe]) -> list[list[Probe]]:
    """The probes by each rewording."""
    return [[_reworded(probe, number) for probe in probes] for number in range(len(QUESTIONS))]


def _reworded(probe: Probe, number: int) -> Probe:
    """The probe in other words; a plain text is cut elsewhere."""
    if probe.template.plain and len(word_ends(probe.answer)) > len(word_ends(probe.question)) // 2:
        return _cut(probe, (number + 2) / 6)
    forms = STEMS if probe.template.plain else QUESTIONS
    return probe.asked(forms[number].replace("{}", probe.question))


def _cut(probe: Probe, share: float) -> Probe:
    text = probe.template.answered(probe.question, probe.answer)
    ends = word_ends(text)
    at = ends[min(max(1, round(share * len(ends))), len(ends) - 1) - 1]
    return replace(probe, question=text[:at], answer=text[at:])
