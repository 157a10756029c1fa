"""What is saved with every model after surgery: one record and one card, whatever made it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mnemotomy.core.clock import Clock
from mnemotomy.core.errors import ConfigurationError, DataError, NonFiniteError
from mnemotomy.core.integrity import check_listed
from mnemotomy.core.json_text import read_json
from mnemotomy.core.keys import path_digest
from mnemotomy.core.models import load_config, save_model
from mnemotomy.core.version import versions
from mnemotomy.report.model_card import model_card

RECORD = "mnemotomy.json"

RECORDS = (RECORD, "unlearning.json", "metabolism.json")
"""A folder with one of these is ours; the others come from earlier versions or other calls."""


_KINDS = (".jsonl", ".parquet", ".db", ".safetensors")


def digests_of(files: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of each file or folder, by its path."""
    return {str(file): path_digest(file) for file in files}


def by_role(role: str, digests: Mapping[str, Any]) -> dict[str, Any]:
    """The hashes of files by names that say no more than their role: a result is given away."""
    kinds = [suffix if (suffix := Path(file).suffix) in _KINDS else "" for file in digests]
    numbers = [f"-{number}" if len(digests) > 1 else "" for number in range(1, len(digests) + 1)]
    names = [f"{role}{number}{kind}" for number, kind in zip(numbers, kinds, strict=True)]
    return dict(zip(names, digests.values(), strict=True))


def recipe_beside(out: Path) -> Path:
    """Where the recipe with the paths of its files is written, beside a result that has none."""
    return out.with_name(f"{out.name}.recipe.yaml")


def told(record: Mapping[str, Any], clock: Clock) -> dict[str, Any]:
    """A record with versions and seconds, as every record has."""
    return {**record, "versions": versions(), "seconds": clock.seconds}


def earlier_requests(source: str | Path) -> dict[str, Any]:
    """``earlier`` for the record of what is done to a model that was changed before; empty if it was not.

    It lists the requests in their order, each with its files' hashes, its choice and its scores.

    Raises:
        DataError: the record in the model's folder is not valid JSON.
        ArtifactError: it has changed since it was written.
    """
    path = Path(source) / RECORD
    check_listed(path)
    if not path.is_file():
        return {}
    try:
        last = read_json(path.read_text(encoding="utf-8"))
        own = {
            name: last[name]
            for name in ("kind", "date", "files", "asked", "chosen", "scores", "counts", "recipe_hash")
            if name in last
        }
        prints = {name: last["model"][name] for name in ("fingerprint_before", "fingerprint_after")}
        return {"earlier": [*last.get("earlier", []), own | prints]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a record of Mnemotomy ({error}); mend it, or move it away") from error


def beside(record: Mapping[str, Any], recipe: str | None = None) -> dict[str, str]:
    """The text files beside a model: the card, the record, and the recipe if there was one."""
    files = {"README.md": model_card(record), RECORD: json.dumps(record, indent=2, ensure_ascii=False) + "\n"}
    return files if recipe is None else files | {"recipe.yaml": recipe}


def warn_of_size(source: str, model: nn.Module) -> None:
    """Say so if the result will be larger than its source, whose files are in a narrower dtype."""
    config = load_config(source)
    stored = getattr(config, "dtype", None)
    found = next((one.dtype for one in model.parameters()), None)
    if isinstance(stored, torch.dtype) and found is not None and found.itemsize > stored.itemsize:
        narrow, wide = (str(one).removeprefix("torch.") for one in (stored, found))
        warnings.warn(
            f"{source} is in {narrow}, and the result will be in {wide}, {found.itemsize // stored.itemsize} times as "
            f"large; if nothing is trained, dtype {narrow} keeps the size",
            stacklevel=2,
        )


def save_with_record(
    model: nn.Module,
    tokenizer: Any,
    folder: Path,
    record: Mapping[str, Any],
    recipe: str | None = None,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Save a folder that ``from_pretrained`` loads, with the record, the card and ``extra`` texts, all or nothing.

    Raises:
        NonFiniteError: a weight is not finite.
        ConfigurationError: no weight has changed.
        DataError: the folder contains something else.
    """
    check_saveable(model, record)
    save_model(model, folder, tokenizer=tokenizer, extra={**beside(record, recipe), **(extra or {})})


def check_saveable(model: nn.Module, record: Mapping[str, Any]) -> None:
    """Refuse a model that is not finite, or is what it was.

    Raises:
        NonFiniteError: a weight is not finite.
        ConfigurationError: no weight has changed.
    """
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise NonFiniteError(
                f"{name!r} is NaN or infinite after the edit; choose a smaller strength or a coarser cut"
            )
    check_changed(record["model"]["fingerprint_before"], record["model"]["fingerprint_after"])


def check_changed(before: str, after: str) -> None:
    """Refuse a model that is what it was.

    Raises:
        ConfigurationError: the fingerprints are equal.
    """
    if before == after:
        raise ConfigurationError(
            "nothing changed: every weight is what it was, so nothing was saved; choose a lower threshold, a larger "
            "strength, or, for two-sided, a higher level"
        )
