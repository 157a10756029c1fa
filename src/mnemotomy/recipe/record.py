"""What is written beside every model that came out of surgery: one record, one card, whatever made it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mnemotomy.core.errors import NonFiniteError
from mnemotomy.core.models import save_model
from mnemotomy.core.version import versions
from mnemotomy.report.model_card import model_card

RECORD = "mnemotomy.json"

RECORDS = (RECORD, "unlearning.json", "metabolism.json")
"""By one of these a folder is known as ours; the others are of earlier versions, or of another call."""


class Clock:
    """Wall-clock seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """The time since the last lap was spent on ``phase``."""
        now = time.perf_counter()
        self.seconds[phase] = round(now - self._last, 3)
        self._last = now


def sha256(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests_of(files: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of each file, by its name as it is given."""
    return {str(file): sha256(file) for file in files}


def told(record: Mapping[str, Any], clock: Clock) -> dict[str, Any]:
    """A record with the versions and the seconds that every record has."""
    return {**record, "versions": versions(), "seconds": clock.seconds}


def beside(record: Mapping[str, Any], recipe: str | None = None) -> dict[str, str]:
    """The text files that are saved with a model: the card, the record, and the recipe if there was one."""
    files = {"README.md": model_card(record), RECORD: json.dumps(record, indent=2, ensure_ascii=False) + "\n"}
    return files if recipe is None else files | {"recipe.yaml": recipe}


def save_with_record(
    model: nn.Module, tokenizer: Any, folder: Path, record: Mapping[str, Any], recipe: str | None = None
) -> None:
    """Save a folder that ``from_pretrained`` loads, with the record and the card, all or nothing.

    Raises:
        NonFiniteError: a weight is not finite.
        DataError: the folder holds something else.
    """
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise NonFiniteError(f"{name!r} has become infinite; choose a smaller strength or a coarser cut")
    save_model(model, folder, tokenizer=tokenizer, extra=beside(record, recipe))
