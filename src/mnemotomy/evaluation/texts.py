"""The questions of TOFU, from a folder or the hub."""

from __future__ import annotations

from pathlib import Path

from mnemotomy.data.tofu import evaluation_splits, tofu_rows
from mnemotomy.observe.splits import Splits
from mnemotomy.text.records import TextExample, questions_of


def tofu_splits(folder_or_id: str | Path, forget: str) -> Splits:
    """The test questions of a forget split by part, as in OpenUnlearning's evaluator.

    Raises:
        DataError: as ``load_tofu``, or ``forget`` is not a forget split.
    """
    return {part: load_tofu(folder_or_id, split) for part, split in evaluation_splits(forget).items()}


def load_tofu(folder_or_id: str | Path, split: str) -> tuple[TextExample, ...]:
    """The questions of a split, in its order.

    Args:
        folder_or_id: a folder with ``<split>.jsonl``, or a hub id such as ``locuslab/TOFU``.
        split: such as ``forget10``, ``forget10_perturbed``, ``retain_perturbed``, ``real_authors_perturbed``.

    Raises:
        DataError: there is no such folder, id or split, the split is empty, or a line is malformed; names file and
            line. Hub ids need the package ``datasets``.
    """
    return questions_of(tofu_rows(folder_or_id, split))
