"""The prompt format that a model was trained with, kept in the model's folder."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path

from mnemotomy.core.errors import DataError
from mnemotomy.core.files import write_text
from mnemotomy.data.fact import PromptFormat

FILE = "prompt_format.json"


def read_format(folder: str | Path) -> PromptFormat | None:
    """The prompt format in ``prompt_format.json`` of a model's folder, or None where there is no such file.

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    path = Path(folder) / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON: {error}") from error
    known = [field.name for field in fields(PromptFormat)]
    if not isinstance(values, dict) or any(k not in known or not isinstance(v, str) for k, v in values.items()):
        raise DataError(f"{path} must hold an object of the texts {' and '.join(map(repr, known))}")
    try:
        return PromptFormat(**values)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def write_format(format: PromptFormat, folder: str | Path) -> Path:
    """Write a model's prompt format into its folder, all of it or nothing; returns the file.

    Raises:
        DataError: the folder is none, or cannot be written.
    """
    path = Path(folder) / FILE
    if not path.parent.is_dir():
        raise DataError(f"there is no model folder {path.parent}; save the model first")
    try:
        write_text(path, json.dumps(asdict(format), indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from error
    return path
