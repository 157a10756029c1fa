"""A recipe for the tiny models, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mnemotomy.core.yaml import write_yaml


def recipe(folder: Path, name: str = "recipe.yaml", **fields: Any) -> Path:
    """A recipe that erases Kyoto and Paris from the Llama; fields are replaced or, with None, left out.

    It is forced, as the models know nothing and the files have few tokens.
    """
    whole: dict[str, Any] = {
        "model": "models/llama",
        "concepts": {"kyoto": "kyoto.jsonl", "paris": ["paris.jsonl"]},
        "reference": "rest.jsonl",
        "force": True,
    } | fields
    path = folder / name
    path.write_text(write_yaml({key: value for key, value in whole.items() if value is not None}))
    return path
