"""Rows of a public data set: from its files in a folder, from one file, or from the hub."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import DataError
from mnemotomy.core.files import check_input
from mnemotomy.data.json_lines import json_lines, parse_line

ENDINGS = (".jsonl", ".json", ".parquet", ".txt")


def is_hub_id(source: str | Path) -> bool:
    """Whether this is a hub id, such as ``locuslab/TOFU``, and no folder here."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(source)) is not None and not Path(source).exists()


def files_of(folder: Path, stems: Sequence[str]) -> list[Path]:
    """The file of the first stem that is in the folder, or all parts of a split as the hub stores it."""
    for stem in stems:
        for ending in ENDINGS:
            if (path := folder / f"{stem}{ending}").is_file():
                return [path]
        if parts := sorted(folder.glob(f"{stem}-*-of-*.parquet")):
            return parts
    return []


def file_rows(path: Path) -> Iterator[tuple[Any, str]]:
    """The rows of a file, each with its place. A plain text gives a row for each part between blank lines.

    Raises:
        DataError: the file is missing, of another kind, or malformed; for Parquet, the package ``datasets`` is missing.
    """
    check_input(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    if path.suffix == ".jsonl":
        yield from json_lines(path)
    elif path.suffix == ".parquet":
        yield from _loaded(f"{path}", "parquet", data_files=str(path), split="train")
    elif path.suffix in (".json", ".txt"):
        text = _text(path)
        if path.suffix == ".txt":
            rows: list[Any] = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
        else:
            rows = _json_rows(text, path)
        for number, row in enumerate(rows, start=1):
            yield ({"text": row} if isinstance(row, str) else row), f"{path} row {number}"
    else:
        raise DataError(f"{path} is not a file that can be read here; its name must end in {', '.join(ENDINGS)}")


def hub_rows(name: str, config: str | None, split: str, limit: int | None = None) -> Iterator[tuple[Any, str]]:
    """The rows of a split on the hub; with a limit, no more than those are downloaded.

    Raises:
        DataError: the package ``datasets`` is missing, or the hub does not give the split.
    """
    where = " ".join(filter(None, (name, config, split if split != "train" else None)))
    options: dict[str, Any] = {"split": split} | ({} if limit is None else {"streaming": True})
    return itertools.islice(_loaded(where, name, *filter(None, (config,)), **options), limit)


def _loaded(where: str, *what: Any, **options: Any) -> Iterator[tuple[Any, str]]:
    try:
        import datasets
    except ImportError as error:
        raise DataError("data from the hub and Parquet files need datasets: pip install datasets") from error
    try:
        for number, row in enumerate(datasets.load_dataset(*what, **options), start=1):
            yield row, f"{where} row {number}"
    except Exception as error:  # the hub, the network and the builder each raise their own
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"cannot load {where}: {first}") from error


def _json_rows(text: str, path: Path) -> list[Any]:
    """The rows of a list; also JSON Lines, which the hub's tools write under this ending."""
    lines = [(line, f"{path} line {at}") for at, line in enumerate(text.split("\n"), start=1) if line.strip()]
    try:
        rows = parse_line(text, str(path))
    except DataError:
        if len(lines) < 2:
            raise
        return [parse_line(line, where) for line, where in lines]
    return rows if isinstance(rows, list) else [rows]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error.reason} at byte {error.start + 1}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
