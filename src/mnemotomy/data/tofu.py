"""TOFU (Maini et al. 2024): questions about fictitious authors, real authors and the world, by split."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import DataError
from mnemotomy.data.json_lines import json_lines

HUB = "locuslab/TOFU"


@dataclass(frozen=True)
class Question:
    """One line of a split; what the split does not have is None or empty.

    Attributes:
        question: as the user asks it.
        answer: the true one.
        paraphrased_question: the same in other words.
        paraphrased_answer: the true answer in other words.
        perturbed_answers: false answers in the words of the paraphrased one; wrong options for real authors and facts.
        where: file and line, or hub id, split and row, for errors.
    """

    question: str
    answer: str
    paraphrased_question: str | None = None
    paraphrased_answer: str | None = None
    perturbed_answers: tuple[str, ...] = ()
    where: str = ""


def load_tofu(folder_or_id: str | Path, split: str) -> tuple[Question, ...]:
    """The questions of a split, in its order.

    Args:
        folder_or_id: a folder with ``<split>.jsonl``, or a hub id as ``locuslab/TOFU``.
        split: as ``forget10``, ``forget10_perturbed``, ``retain_perturbed``, ``real_authors_perturbed``.

    Raises:
        DataError: there is no such folder, id or split, the split is empty, or a line is malformed; it names file and
            line. Hub ids need the package ``datasets``.
    """
    folder = Path(folder_or_id)
    if folder.is_dir():
        rows = _lines(folder, split)
    elif re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(folder_or_id)) and not folder.exists():
        rows = _hub_rows(str(folder_or_id), split)
    else:
        raise DataError(f"there is no folder {folder_or_id}; name one with TOFU's splits as .jsonl files, or {HUB!r}")
    questions = tuple(_question(row, where) for row, where in rows)
    if not questions:
        raise DataError(f"the split {split!r} of {folder_or_id} is empty")
    _check_perturbed(questions)
    return questions


def questions_of(path: str | Path) -> tuple[Question, ...]:
    """The questions of one JSON Lines file: ``question`` and ``answer`` on each line, and what a split may have more.

    Raises:
        DataError: the file is missing, empty or malformed; it names file and line.
    """
    questions = tuple(_question(row, where) for row, where in json_lines(path))
    if not questions:
        raise DataError(f"{path} is empty; write one JSON object per line with 'question' and 'answer'")
    _check_perturbed(questions)
    return questions


def evaluation_splits(forget: str) -> dict[str, str]:
    """The split of each part of an evaluation, as OpenUnlearning's evaluator pairs them.

    Args:
        forget: ``forget01``, ``forget05`` or ``forget10``.

    Returns:
        ``forget``, ``holdout``, ``retain``, ``ra`` (real authors) and ``wf`` (world facts), each with its split.

    Raises:
        DataError: the name is no forget split.
    """
    match = re.fullmatch(r"forget(\d+)", forget)
    if match is None:
        raise DataError(f"{forget!r} is no forget split; choose forget01, forget05 or forget10")
    return {
        "forget": f"{forget}_perturbed",
        "holdout": f"holdout{match[1]}",
        "retain": "retain_perturbed",
        "ra": "real_authors_perturbed",
        "wf": "world_facts_perturbed",
    }


def retained_split(forget: str) -> str:
    """The split to retain when ``forget`` is forgotten: ``retain90`` for ``forget10``.

    Raises:
        DataError: the name is no forget split.
    """
    evaluation_splits(forget)
    return f"retain{100 - int(forget.removeprefix('forget')):02d}"


def _lines(folder: Path, split: str) -> Iterable[tuple[Any, str]]:
    path = folder / f"{split}.jsonl"
    if not path.exists():
        found = ", ".join(sorted(file.stem for file in folder.glob("*.jsonl"))) or "no .jsonl file at all"
        raise DataError(f"{folder} has no split {split!r}; it has {found}")
    yield from json_lines(path)


def _hub_rows(name: str, split: str) -> Iterable[tuple[Any, str]]:
    try:
        import datasets
    except ImportError as error:
        raise DataError("data from the hub comes with datasets: pip install 'mnemotomy[tofu]'") from error
    try:
        rows = datasets.load_dataset(name, split, split="train")
    except Exception as error:  # the hub, the network and the builder each raise their own
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"cannot load the split {split!r} of {name!r}: {first}") from error
    return [(row, f"{name} {split} row {number}") for number, row in enumerate(rows, start=1)]


def _question(row: Any, where: str) -> Question:
    if not isinstance(row, dict):
        raise DataError(f"{where}: an object was expected, with 'question' and 'answer'")
    for key in ("question", "answer"):
        if row.get(key) is None:
            raise DataError(f"{where}: {key!r} is missing")
    perturbed = row.get("perturbed_answer")
    if perturbed is None:
        perturbed = []
    if isinstance(perturbed, str):
        perturbed = [perturbed]
    if not isinstance(perturbed, list):
        raise DataError(f"{where}: 'perturbed_answer' must be a list of strings, not {json.dumps(perturbed)[:40]}")
    return Question(
        question=_text(row["question"], "question", where),
        answer=_text(row["answer"], "answer", where),
        paraphrased_question=_optional(row, "paraphrased_question", where),
        paraphrased_answer=_optional(row, "paraphrased_answer", where),
        perturbed_answers=tuple(_text(answer, "perturbed_answer", where) for answer in perturbed),
        where=where,
    )


def _optional(row: dict[str, Any], key: str, where: str) -> str | None:
    return None if row.get(key) is None else _text(row[key], key, where)


def _text(value: Any, key: str, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: {key!r} must be a string, not {json.dumps(value)[:40]}")
    if not value.strip():
        raise DataError(f"{where}: {key!r} is empty")
    return value


def _check_perturbed(questions: tuple[Question, ...]) -> None:
    """Every line with as many false answers and paraphrases: their means weigh lines equally."""
    first = questions[0]
    for one in questions:
        if len(one.perturbed_answers) != len(first.perturbed_answers):
            raise DataError(
                f"{one.where}: {len(one.perturbed_answers)} perturbed answers, where {first.where} has "
                f"{len(first.perturbed_answers)}; give each line of a split the same number"
            )
        if (one.paraphrased_answer is None) != (first.paraphrased_answer is None):
            raise DataError(
                f"{one.where} and {first.where}: one has a paraphrased answer and one has none; give it to all or none"
            )
