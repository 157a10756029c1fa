"""Rows with pictures, from a folder of parquet files or from the Hugging Face hub; nothing is decoded here."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import DataError

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "fine_label", "labels")
EXTRA = "pip install datasets pillow"
"""What installs `datasets` and Pillow."""


def open_rows(name_or_path: str | Path, split: str) -> list[Any]:
    """The rows of one split as ``datasets.Dataset`` parts, one for each file of a folder, one in all from the hub.

    Args:
        name_or_path: a folder whose parquet files are named by split (``train.parquet`` or
            ``train-00000-of-00002.parquet``, also in a subfolder), or a hub id.
        split: its name, or a part of it as ``datasets`` writes it: ``train[:1000]``, ``test[50%:]``.

    Raises:
        DataError: ``datasets`` is missing, there is no such folder, id or split, a file is damaged, or lacks a column
            of the first file.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"reading images needs datasets: {EXTRA}") from error
    folder = Path(name_or_path)
    if folder.is_dir():
        return _local_parts(folder, split)
    if _is_path(name_or_path):
        raise DataError(f"{name_or_path} does not exist; give a folder of parquet files or a hub id")
    try:
        return [datasets.load_dataset(str(name_or_path), split=split)]
    # offline, unknown, private, without that split: a class of its own for each, from three libraries
    except Exception as error:
        raise DataError(f"cannot load {str(name_or_path)!r}, split {split!r}: {first_line(error)}") from error


def split_files(folder: str | Path, split: str) -> list[Path]:
    """The parquet files of ``split``, sorted: named by it, or in a subfolder of that name.

    Raises:
        DataError: there is none; the message lists what is there.
    """
    name = split.partition("[")[0]
    files = sorted(Path(folder).rglob("*.parquet"))
    found = [
        file
        for file in files
        # the given folder's own name does not name a split
        if file.stem == name or file.stem.startswith(f"{name}-") or file.relative_to(folder).parent.name == name
    ]
    if not found:
        there = ", ".join(str(file.relative_to(folder)) for file in files[:8]) or "no parquet file at all"
        raise DataError(f"{folder} has no {name}.parquet nor {name}-*.parquet; it has {there}")
    return found


def find_image_column(features: Any, wanted: str | None, where: str) -> str:
    """``wanted``, or the column that holds images: by its type, else by its name.

    Raises:
        DataError: there is no such column.
    """
    import datasets

    typed = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    return _column(features, wanted, [*typed, *IMAGE_COLUMNS], f"{where}: image_column")


def find_label_column(features: Any, wanted: str | None, where: str) -> str:
    """``wanted``, or the column that holds the classes: by its usual name, else by its type.

    Raises:
        DataError: there is no such column.
    """
    import datasets

    typed = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    return _column(features, wanted, [*LABEL_COLUMNS, *typed], f"{where}: label_column")


def _column(features: Any, wanted: str | None, usual: Sequence[str], setting: str) -> str:
    candidates = usual if wanted is None else [wanted]
    for name in candidates:
        if name in features:
            return name
    missing = f"there is no column {wanted!r}" if wanted is not None else "no column looks right"
    raise DataError(f"{setting}: {missing}; choose one of {', '.join(map(repr, features))}")


def _local_parts(folder: Path, split: str) -> list[Any]:
    import datasets
    from pyarrow import parquet

    files = split_files(folder, split)
    rows = []
    for file in files:
        with _whole(file):
            rows.append(parquet.ParquetFile(file).metadata.num_rows)
    first, last = _bounds(split, sum(rows))
    parts: list[Any] = []
    for file, count, before in zip(files, rows, itertools.accumulate(rows, initial=0), strict=False):
        start, stop = max(0, first - before), min(count, last - before)
        if start < stop:
            with _whole(file):
                table = parquet.read_table(file, partitioning=None).slice(start, stop - start)
            if parts and (missing := set(parts[0].column_names) - set(table.column_names)):
                named = ", ".join(map(repr, sorted(missing)))
                raise DataError(f"{file} lacks the column {named} of the files before it; all need the same columns")
            # in memory: load_dataset would leave a second copy of everything in the user's cache folder
            parts.append(datasets.Dataset(datasets.table.InMemoryTable(table)))
    if not parts:
        raise DataError(f"{folder}: split {split!r} has no rows")
    return parts


@contextlib.contextmanager
def _whole(file: Path) -> Iterator[None]:
    """Turn pyarrow's error about a truncated or foreign file into one with the file's name."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a complete parquet file ({first_line(error)}); fetch it again") from error


def _bounds(split: str, rows: int) -> tuple[int, int]:
    """The first row, and the one after the last."""
    import datasets

    try:
        (part,) = datasets.ReadInstruction.from_spec(split).to_absolute({split.partition("[")[0]: rows})
    except (ValueError, AssertionError) as error:
        raise DataError(f"{split!r} is not a part of a split; write it as 'train[:1000]' or 'train[:10%]'") from error
    return part.from_ or 0, rows if part.to is None else part.to


def _is_path(name: str | Path) -> bool:
    return isinstance(name, Path) or name.startswith(("/", ".", "~")) or name.count("/") > 1


def first_line(error: Exception) -> str:
    """What an error says in one line; its class if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
