"""Concept files: JSON Lines of texts, questions with answers, or conversations."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mnemotomy.core.errors import DataError
from mnemotomy.data.json_lines import json_lines

FORMS = "'text', 'question' with 'answer', or 'messages'"

REFERENCE = "reference"
"""The concept that the files of what is to stay become."""

Form = Literal["text", "question", "messages"]


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class TextExample:
    """One line of a concept file. What the assistant says is its content; a plain text is all content.

    Attributes:
        form: which of the three forms the line has.
        turns: a plain text as one assistant's turn, question and answer as two turns, or the messages.
        where: file and line, for errors.
    """

    form: Form
    turns: tuple[Turn, ...]
    where: str


def read_examples(path: str | Path) -> list[TextExample]:
    """The examples of a JSON Lines file in UTF-8, one object per line; blank lines are skipped, other keys ignored.

    Raises:
        DataError: the file is missing, empty or unreadable, or a line is malformed; it names the file and the line.
    """
    examples = [_example(row, where) for row, where in json_lines(path, "concept file")]
    if not examples:
        raise DataError(f"{path} is empty; write one JSON object per line with {FORMS}")
    return examples


def _example(row: Any, where: str) -> TextExample:
    if not isinstance(row, dict):
        raise DataError(f"{where}: an object was expected, with {FORMS}")
    forms = list(dict.fromkeys(_FORM_OF_KEY[key] for key in _FORM_OF_KEY if key in row))
    if len(forms) != 1:
        found = ", ".join(repr(key) for key in row)
        raise DataError(f"{where}: give one of {FORMS}; the keys are {found or 'none'}")
    return TextExample(forms[0], _READERS[forms[0]](row, where), where)


def _text(row: dict[str, Any], where: str) -> tuple[Turn, ...]:
    return (Turn("assistant", _string(row, "text", where)),)


def _question(row: dict[str, Any], where: str) -> tuple[Turn, ...]:
    return Turn("user", _string(row, "question", where)), Turn("assistant", _string(row, "answer", where))


def _messages(row: dict[str, Any], where: str) -> tuple[Turn, ...]:
    messages = row["messages"]
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise DataError(f"{where}: 'messages' must be a list of objects with 'role' and 'content'")
    turns = []
    for number, message in enumerate(messages, start=1):
        at = f"{where}: message {number}"
        role = _string(message, "role", at)
        turns.append(Turn(role, _string(message, "content", at, may_be_empty=role != "assistant")))
    if not any(turn.role == "assistant" for turn in turns):
        raise DataError(f"{where}: 'messages' has no turn of the assistant, and only those count")
    return tuple(turns)


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
_READERS: dict[Form, Callable[[dict[str, Any], str], tuple[Turn, ...]]] = {
    "text": _text,
    "question": _question,
    "messages": _messages,
}
