"""OpenUnlearning's files: ``TOFU_EVAL.json`` with every row's numbers, ``TOFU_SUMMARY.json`` with the aggregates."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import ArtifactError
from mnemotomy.core.files import write_text
from mnemotomy.metrics.tofu.evaluation import Evaluation

EVALUATION, SUMMARY = "TOFU_EVAL.json", "TOFU_SUMMARY.json"


def summary(evaluation: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The aggregate of every metric, by name."""
    return {
        name: float(entry["agg_value"])
        for name, entry in sorted(evaluation.items())
        if entry.get("agg_value") is not None
    }


def write_evaluation(folder: str | Path, evaluation: Mapping[str, Mapping[str, Any]]) -> None:
    """Write both files into a folder, which is made where it is missing."""
    for name, content in ((EVALUATION, dict(sorted(evaluation.items()))), (SUMMARY, summary(evaluation))):
        write_text(Path(folder) / name, json.dumps(content, indent=4) + "\n")


def read_evaluation(path: str | Path) -> Evaluation:
    """Read ``TOFU_EVAL.json``, ours or OpenUnlearning's, from a file or its folder.

    Raises:
        ArtifactError: the file is missing or no such evaluation.
    """
    file = Path(path) / EVALUATION if Path(path).is_dir() else Path(path)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"there is no file {file}; write it with write_evaluation") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file} is damaged: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
        raise ArtifactError(f"{file} is no evaluation: an object of metrics was expected")
    for name, entry in found.items():
        value = entry.get("agg_value")
        if value is not None and (not isinstance(value, int | float) or not math.isfinite(value)):
            raise ArtifactError(f"{file}: the value of {name!r} is no number")
    return found
