"""Probes: lines of text data as something to ask, with the answer that would show knowledge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from mnemotomy.core.errors import DataError
from mnemotomy.core.scripts import word_ends
from mnemotomy.text.records import TextExample, Turn
from mnemotomy.text.template import OPEN_UNLEARNING, Template


@dataclass(frozen=True)
class Probe:
    """A question and the answer of a model that knows it.

    Attributes:
        question: what the model is asked, without its template.
        answer: the true answer; of several, the one that is looked for where only one can be.
        template: what stands around both.
        paraphrases: the question in other words.
        also: other true answers to the question.
        where: file and line, for errors and reports.
    """

    question: str
    answer: str
    template: Template = OPEN_UNLEARNING
    paraphrases: tuple[str, ...] = field(default=(), kw_only=True)
    where: str = field(default="", kw_only=True, compare=False)
    also: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def answers(self) -> tuple[str, ...]:
        """All true answers."""
        return (self.answer, *self.also)

    @property
    def each(self) -> list[Probe]:
        """A probe for each true answer."""
        return [replace(self, answer=one, also=()) for one in self.answers]

    def asked(self, question: str) -> Probe:
        """The same answer to another question."""
        return replace(self, question=question, paraphrases=())

    @property
    def example(self) -> TextExample:
        """The probe as a line of text data; its template is not part of it."""
        return TextExample.of_question(self.question, self.answer, self.where)


def probes_of(examples: Iterable[TextExample], template: Template = OPEN_UNLEARNING) -> list[Probe]:
    """What to ask about each line.

    A question is asked as it is. For a plain text, the model is given the first half of the words, and the second half
    is the answer. For messages, the user's one turn is the question; a system message replaces the template's.

    Raises:
        DataError: a text has one word, or a conversation more than one question.
    """
    return [_probe(example, template) for example in examples]


def _probe(example: TextExample, template: Template) -> Probe:
    if example.form == "question":
        others = (example.paraphrased_question,) if example.paraphrased_question else ()
        return Probe(example.question, example.answer, template, paraphrases=others, where=example.where)
    if example.form == "text":
        return _continued(example, template)
    return _conversation(example, template)


def _continued(example: TextExample, template: Template) -> Probe:
    text = example.turns[0].content.strip()
    ends = word_ends(text)
    if len(ends) < 2:
        raise DataError(
            f"{example.where}: {text[:40]!r} is one word, so nothing can be asked about it; give a longer text, or "
            "'question' and 'answer'"
        )
    at = ends[len(ends) // 2 - 1]
    return Probe(text[:at], text[at:], replace(template, plain=True), where=example.where)


def _conversation(example: TextExample, template: Template) -> Probe:
    roles = [turn.role for turn in example.turns]
    system = example.turns[0].content if roles[0] == "system" else None
    turns: Sequence[Turn] = example.turns[1:] if roles[0] == "system" else example.turns
    if [turn.role for turn in turns] != ["user", "assistant"]:
        raise DataError(
            f"{example.where}: only messages with one turn of the user and one of the assistant can be asked about; "
            "write each question with its answer on a line of its own"
        )
    asked = template if system is None else replace(template, system=system)
    return Probe(turns[0].content, turns[1].content, asked, where=example.where)


def by_template(probes: Sequence[Probe]) -> dict[Template, list[int]]:
    """The places of the probes of each template: a batch is asked in one."""
    found: dict[Template, list[int]] = {}
    for place, probe in enumerate(probes):
        found.setdefault(probe.template, []).append(place)
    return found
