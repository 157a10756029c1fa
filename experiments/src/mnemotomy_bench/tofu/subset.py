"""TOFU with fewer authors, for base models that are too large to learn all of it here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.core.files import write_text
from mnemotomy.data.tofu import tofu_rows
from mnemotomy_bench.tofu.prepare import GENERAL

QUESTIONS = 20
"""About each author, one after the other in ``full``."""

FORGET, RETAIN, HOLDOUT = "forget10", "retain90", "holdout10"
"""The splits of TOFU that a subset has; a tenth is forgotten in both."""


def write_subset(folder: Path, source: str | Path, authors: int) -> dict[str, int]:
    """Write a folder in TOFU's form with so many authors, of whom the last tenth is to be forgotten.

    The forgotten ones are TOFU's last authors, the others its first ones, so that both have the paraphrased and false
    answers that an evaluation needs. Real authors and world facts are all there; unseen authors are as many as
    forgotten ones.

    Args:
        folder: to write; must not exist, or be empty.
        source: a folder with TOFU's splits as JSON Lines, or a hub id.
        authors: a multiple of 10, and fewer than TOFU's 200.

    Returns:
        The number of lines by split.

    Raises:
        ConfigurationError: no such subset can be made, or the folder has files.
        DataError: a split is missing, or a retained question of an evaluation is about no retained author.
    """
    full = _rows(source, "full")
    if authors < 10 or authors % 10 or authors * QUESTIONS >= len(full):
        raise ConfigurationError(
            f"authors is a multiple of 10 and less than the {len(full) // QUESTIONS} of the source, not {authors}"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{folder} has files already; name another folder")
    forgotten = authors // 10 * QUESTIONS
    kept, lost = full[: authors * QUESTIONS - forgotten], full[-forgotten:]
    gone = {row["question"] for row in lost}
    splits = {
        "full": kept + lost,
        RETAIN: kept,
        FORGET: lost,
        f"{FORGET}_perturbed": [row for row in _rows(source, f"{FORGET}_perturbed") if row["question"] in gone],
        HOLDOUT: _rows(source, HOLDOUT)[:forgotten],
        "retain_perturbed": _rows(source, "retain_perturbed"),
        **{name: _rows(source, name) for split in GENERAL for name in (split, f"{split}_perturbed")},
    }
    known = {row["question"] for row in kept}
    strangers = sum(row["question"] not in known for row in splits["retain_perturbed"])
    if strangers:
        raise DataError(f"{strangers} questions of retain_perturbed are about authors left out; take more authors")
    for name, rows in splits.items():
        write_text(folder / f"{name}.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return {name: len(rows) for name, rows in splits.items()}


def _rows(source: str | Path, split: str) -> list[Any]:
    return [row for row, _ in tofu_rows(source, split)]
