"""Files of facts: JSON Lines in UTF-8, one fact per line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import DataError
from mnemotomy.core.files import check_input, output_file
from mnemotomy.core.integrity import check_listed
from mnemotomy.core.json_text import read_json
from mnemotomy.data.fact import Fact, PromptFormat, check_facts, check_neighbours
from mnemotomy.data.fact_templates import Templates
from mnemotomy.data.json_lines import json_lines

UNREAD = "?"  # an answer that plays no part

_TEXTS, _LISTS = ("subject", "answer", "relation"), ("prompts", "contexts", "heldout_prompts")


def read_facts(path: str | Path, *, templates: Templates | None = None, trainable: bool = True) -> tuple[Fact, ...]:
    """The facts of a file; blank lines are skipped.

    A line is an object with ``subject`` and ``answer``, and optionally ``prompts``, ``contexts``, ``heldout_prompts``
    (lists of texts, or one text) and ``relation``.

    Args:
        path: of the file.
        templates: for the prompts and contexts that a line lacks.
        trainable: whether every fact needs a prompt and a context.

    Raises:
        DataError: the file is missing or empty, or a line is malformed; the message names the line.
    """
    facts = iterate_facts(path)
    return check_facts(facts if templates is None else map(templates.complete, facts), trainable=trainable)


def read_neighbours(path: str | Path, *, templates: Templates | None = None) -> tuple[Fact, ...]:
    """Facts about other subjects, each with prompts that name it; a line needs no answer, as none is read.

    Raises:
        DataError: as ``read_facts``, or a line has no prompts.
    """
    found = [_fact({"answer": UNREAD, **row} if isinstance(row, dict) else row, where)
             for row, where in json_lines(path, "file of facts")]  # fmt: skip
    facts = check_facts(found if templates is None else map(templates.complete, found), trainable=False)
    check_neighbours(facts)
    return facts


def iterate_facts(path: str | Path, *, bar: str | None = None) -> Iterator[Fact]:
    """The facts of a file one by one, unchecked; a progress bar is named ``bar``. Errors as for ``read_facts``."""
    found = False
    for row, where in json_lines(path, "file of facts", bar=bar):
        found = True
        yield _fact(row, where)
    if not found:
        raise DataError(f'{path} is empty; write one fact per line, as in {{"subject": "Kyoto", "answer": "Japan"}}')


def _fact(row: Any, where: str) -> Fact:
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object with 'subject' and 'answer'")
    unknown = [key for key in row if key not in (*_TEXTS, *_LISTS)]
    if unknown:
        raise DataError(f"{where}: unknown {unknown[0]!r}; a fact has {', '.join((*_TEXTS, *_LISTS))}")
    for key in ("subject", "answer"):
        if key not in row:
            raise DataError(f"{where}: {key!r} is missing")
    values: dict[str, Any] = {key: _text(row[key], key, where) for key in _TEXTS if key in row}
    values |= {key: _texts(row[key], key, where) for key in _LISTS if key in row}
    return Fact(**values, where=where)


def write_facts(path: str | Path, facts: Iterable[Fact]) -> int:
    """Write all facts as ``read_facts`` reads them, or none on failure; returns how many."""
    written = 0
    with output_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for fact in facts:
            file.write(format_fact(fact) + "\n")
            written += 1
    return written


def format_fact(fact: Fact) -> str:
    """A fact as one line of JSON, without empty fields."""
    row = {key: value for key, value in asdict(fact).items() if value and key != "where"}
    return json.dumps(row, ensure_ascii=False)


def _text(value: Any, key: str, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: {key!r} must be a text, not {json.dumps(value)[:40]}")
    return value


def _texts(value: Any, key: str, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        raise DataError(f"{where}: {key!r} must be a list of texts, not {json.dumps(value)[:40]}")
    return tuple(_text(item, key, where) for item in value)


FILE = "prompt_format.json"


def read_format(folder: str | Path) -> PromptFormat | None:
    """The prompt format in ``prompt_format.json`` of a model's folder, or None if there is no such file.

    Raises:
        DataError: the file cannot be read, or contains something else.
    """
    path = Path(folder) / FILE
    check_input(path)
    check_listed(path)
    try:
        values = read_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    known = [field.name for field in fields(PromptFormat)]
    if not isinstance(values, dict) or any(k not in known or not isinstance(v, str) for k, v in values.items()):
        raise DataError(f"{path} must be an object with only the texts {' and '.join(map(repr, known))}")
    try:
        return PromptFormat(**values)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
