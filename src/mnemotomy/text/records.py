"""One line of text data: a text, a question with its answer, or a conversation; and files of such lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from mnemotomy.core.errors import DataError
from mnemotomy.data.json_lines import json_lines

FORMS = "'text', 'question' with 'answer', or 'messages'"

REFERENCE = "reference"
"""The concept of the reference's files."""

Form = Literal["text", "question", "messages"]


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class TextExample:
    """One line. Its content is what the assistant says; a plain text is all content.

    Attributes:
        form: which of the three forms the line has.
        turns: a plain text as one turn of the assistant, question and answer as two turns, or the messages.
        where: file and line, or hub id, split and row, for errors.
        subject: the name that the line is about.
        paraphrased_question: the question in other words, for an evaluation.
        paraphrased_answer: the true answer in other words.
        perturbed_answers: false answers phrased like the paraphrased one; wrong options for real authors and facts.
    """

    form: Form
    turns: tuple[Turn, ...]
    where: str = ""
    subject: str | None = field(default=None, kw_only=True)
    paraphrased_question: str | None = field(default=None, kw_only=True)
    paraphrased_answer: str | None = field(default=None, kw_only=True)
    perturbed_answers: tuple[str, ...] = field(default=(), kw_only=True)

    @classmethod
    def of_text(cls, text: str, where: str = "", subject: str | None = None) -> TextExample:
        """A plain text."""
        return cls("text", (Turn("assistant", text),), where, subject=subject)

    @classmethod
    def of_question(cls, question: str, answer: str, where: str = "", **others: Any) -> TextExample:
        """A question with its answer; ``others`` are for an evaluation."""
        return cls("question", (Turn("user", question), Turn("assistant", answer)), where, **others)

    @property
    def question(self) -> str:
        """The user's question.

        Raises:
            DataError: the line is of another form.
        """
        return self.turns[0].content if self.form == "question" else self._refuse()

    @property
    def answer(self) -> str:
        """The true answer.

        Raises:
            DataError: the line is of another form.
        """
        return self.turns[1].content if self.form == "question" else self._refuse()

    @property
    def naming(self) -> str:
        """What names the subject: the question, or the first turn of another line that does.

        Raises:
            DataError: nothing does, or the line has no subject.
        """
        turns = self.turns[:1] if self.form == "question" else self.turns
        found = next((turn.content for turn in turns if self.subject and self.subject in turn.content), None)
        if found is None:
            raise DataError(
                f"{self.where}: the subject {self.subject!r} does not occur in {turns[0].content[:80]!r}; write it as "
                "it stands there"
            )
        return found

    def row(self) -> dict[str, Any]:
        """A question as a JSON object, without ``where``."""
        return {
            "question": self.question,
            "answer": self.answer,
            "paraphrased_question": self.paraphrased_question,
            "paraphrased_answer": self.paraphrased_answer,
            "perturbed_answers": list(self.perturbed_answers),
        }

    def _refuse(self) -> NoReturn:
        raise DataError(f"{self.where}: a question with an answer is needed here, but the line has no 'question'")


def check_apart(first: str, examples: Iterable[TextExample], second: str, others: Iterable[TextExample]) -> None:
    """Refuse two sets with a line in common.

    Raises:
        DataError: it names the sets and the first such line.
    """
    there = {one.turns for one in others}
    shared = [one for one in examples if one.turns in there]
    if shared:
        raise DataError(
            f"{len(shared)} example{'s' if len(shared) > 1 else ''} of the {first} set {'are' if shared[1:] else 'is'} "
            f"in the {second} set too, such as {shared[0].turns[0].content[:80]!r} ({shared[0].where}); leave them out "
            "of one of the two"
        )


def read_examples(path: str | Path) -> list[TextExample]:
    """The examples of a JSON Lines file in UTF-8, one object per line; skips blank lines, ignores other keys.

    Raises:
        DataError: the file is missing, empty or unreadable, or a line is malformed; names file and line.
    """
    examples = [example_of(row, where) for row, where in json_lines(path, "concept file")]
    if not examples:
        raise DataError(f"{path} is empty; write one JSON object per line with {FORMS}")
    return examples


def json_lines_of(examples: Iterable[TextExample]) -> str:
    """What ``read_examples`` reads, but for what only an evaluation needs."""

    def line(one: TextExample) -> dict[str, Any]:
        subject = {} if one.subject is None else {"subject": one.subject}
        if one.form == "question":
            return {"question": one.question, "answer": one.answer, **subject}
        if one.form == "text":
            return {"text": one.turns[0].content, **subject}
        return {"messages": [{"role": turn.role, "content": turn.content} for turn in one.turns], **subject}

    return "".join(json.dumps(line(one), ensure_ascii=False) + "\n" for one in examples)


def read_questions(path: str | Path) -> tuple[TextExample, ...]:
    """The questions of a JSON Lines file: ``question`` and ``answer`` on each line, and what an evaluation adds.

    Raises:
        DataError: the file is missing, empty or malformed; names file and line.
    """
    questions = questions_of(json_lines(path))
    if not questions:
        raise DataError(f"{path} is empty; write one JSON object per line with 'question' and 'answer'")
    return questions


def questions_of(rows: Iterable[tuple[Any, str]]) -> tuple[TextExample, ...]:
    """The questions of rows, each with its place. All have as many false answers, so that lines weigh equally.

    Raises:
        DataError: a row is malformed.
    """
    questions = tuple(_whole_question(row, where) for row, where in rows)
    check_alike(questions)
    return questions


def check_alike(questions: Sequence[TextExample]) -> None:
    """Refuse questions of one split that have unequal numbers of false answers, or not all a paraphrase.

    Raises:
        DataError: it names two of them.
    """
    for number, one in enumerate(questions, start=1):
        first = questions[0]
        here, there = one.where or f"question {number}", first.where or "question 1"
        if len(one.perturbed_answers) != len(first.perturbed_answers):
            raise DataError(
                f"{here}: {len(one.perturbed_answers)} perturbed answers, but {there} has "
                f"{len(first.perturbed_answers)}; give each line of a split the same number"
            )
        if (one.paraphrased_answer is None) != (first.paraphrased_answer is None):
            raise DataError(f"{here} and {there}: only one has a paraphrased answer; give it on every line or on none")


def example_of(row: Any, where: str) -> TextExample:
    """One JSON object in any of the three forms.

    Raises:
        DataError: it is malformed.
    """
    if not isinstance(row, dict):
        raise DataError(f"{where}: an object was expected, with {FORMS}")
    forms = list(dict.fromkeys(_FORM_OF_KEY[key] for key in _FORM_OF_KEY if key in row))
    if len(forms) != 1:
        found = ", ".join(repr(key) for key in row)
        raise DataError(f"{where}: give one of {FORMS}; the keys are {found or 'none'}")
    subject = row.get("subject")  # in files for other purposes, it may be anything
    named = subject if isinstance(subject, str) and subject.strip() else None
    return replace(_READERS[forms[0]](row, where), subject=named)


def _text(row: dict[str, Any], where: str) -> TextExample:
    return TextExample.of_text(_string(row, "text", where), where)


def _question(row: dict[str, Any], where: str) -> TextExample:
    other = row.get("paraphrased_question")
    other = other if isinstance(other, str) and other.strip() else None
    question, answer = _string(row, "question", where), _string(row, "answer", where)
    return TextExample.of_question(question, answer, where, paraphrased_question=other)


def _whole_question(row: Any, where: str) -> TextExample:
    """A question with what an evaluation adds."""
    if not isinstance(row, dict):
        raise DataError(f"{where}: an object was expected, with 'question' and 'answer'")
    perturbed = row.get("perturbed_answer")
    perturbed = [] if perturbed is None else [perturbed] if isinstance(perturbed, str) else perturbed
    if not isinstance(perturbed, list):
        raise DataError(f"{where}: 'perturbed_answer' must be a list of strings, not {json.dumps(perturbed)[:40]}")
    present = {key: value for key, value in row.items() if value is not None}
    paraphrased = [key for key in ("paraphrased_question", "paraphrased_answer") if key in present]
    return TextExample.of_question(
        _string(present, "question", where),
        _string(present, "answer", where),
        where,
        **{key: _string(present, key, where) for key in paraphrased},
        perturbed_answers=tuple(_string({"perturbed_answer": one}, "perturbed_answer", where) for one in perturbed),
    )


def _messages(row: dict[str, Any], where: str) -> TextExample:
    messages = row["messages"]
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise DataError(f"{where}: 'messages' must be a list of objects with 'role' and 'content'")
    turns = []
    for number, message in enumerate(messages, start=1):
        at = f"{where}: message {number}"
        role = _string(message, "role", at)
        turns.append(Turn(role, _string(message, "content", at, may_be_empty=role != "assistant")))
    if not any(turn.role == "assistant" for turn in turns):
        raise DataError(f"{where}: 'messages' has no turn of the assistant, but only those count; add one")
    return TextExample("messages", tuple(turns), where)


def _string(row: dict[str, Any], key: str, where: str, *, may_be_empty: bool = False) -> str:
    if key not in row:
        raise DataError(f"{where}: {key!r} is missing")
    value = row[key]
    if not isinstance(value, str):
        raise DataError(f"{where}: {key!r} must be a string, not {json.dumps(value)[:40]}")
    if not may_be_empty and not value.strip():
        raise DataError(f"{where}: {key!r} is empty")
    return value


_FORM_OF_KEY: dict[str, Form] = {"text": "text", "question": "question", "answer": "question", "messages": "messages"}
_READERS: dict[Form, Callable[[dict[str, Any], str], TextExample]] = {
    "text": _text,
    "question": _question,
    "messages": _messages,
}
