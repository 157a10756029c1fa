"""TOFU (Maini et al. 2024): the rows of a split, and which splits belong together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import DataError
from mnemotomy.data.json_lines import json_lines
from mnemotomy.data.rows import hub_rows, is_hub_id

HUB = "locuslab/TOFU"


def tofu_rows(folder_or_id: str | Path, split: str) -> list[tuple[Any, str]]:
    """The rows of a split in order, each with its place: file and line, or hub id, split and row.

    Args:
        folder_or_id: a folder with ``<split>.jsonl``, or a hub id such as ``locuslab/TOFU``.
        split: such as ``forget10``, ``forget10_perturbed``, ``retain_perturbed``, ``real_authors_perturbed``.

    Raises:
        DataError: there is no such folder, id or split, the split is empty, or a line is not JSON. Hub ids need the
            package ``datasets``.
    """
    folder = Path(folder_or_id)
    if folder.is_dir():
        if not (path := folder / f"{split}.jsonl").exists():
            present = ", ".join(sorted(file.stem for file in folder.glob("*.jsonl"))) or "no .jsonl file at all"
            raise DataError(f"{folder} has no split {split!r}; it has {present}")
        rows = list(json_lines(path))
    elif is_hub_id(folder_or_id):
        rows = list(hub_rows(str(folder_or_id), split, "train"))
    else:
        raise DataError(f"{folder_or_id} does not exist; name a folder with TOFU's splits as .jsonl files, or {HUB!r}")
    if not rows:
        raise DataError(f"the split {split!r} of {folder_or_id} is empty")
    return rows


def evaluation_splits(forget: str) -> dict[str, str]:
    """The split of each part of an evaluation, as in OpenUnlearning's evaluator.

    Args:
        forget: ``forget01``, ``forget05`` or ``forget10``.

    Returns:
        The splits of ``forget``, ``holdout``, ``retain``, ``ra`` (real authors) and ``wf`` (world facts).

    Raises:
        DataError: ``forget`` is not a forget split.
    """
    match = re.fullmatch(r"forget(\d+)", forget)
    if match is None:
        raise DataError(f"{forget!r} is not a forget split; choose forget01, forget05 or forget10")
    return {
        "forget": f"{forget}_perturbed",
        "holdout": f"holdout{match[1]}",
        "retain": "retain_perturbed",
        "ra": "real_authors_perturbed",
        "wf": "world_facts_perturbed",
    }


def retained_split(forget: str) -> str:
    """The retain set of a forget split: ``retain90`` for ``forget10``; errors as for ``evaluation_splits``."""
    evaluation_splits(forget)
    return f"retain{100 - int(forget.removeprefix('forget')):02d}"
