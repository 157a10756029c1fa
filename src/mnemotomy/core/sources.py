"""Where a model comes from: a folder, a file, an adapter over its base, or the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mnemotomy.core.adapters import CONFIGURATION, WEIGHTS, base_name, is_adapter
from mnemotomy.core.errors import ModelError
from mnemotomy.core.gguf import is_gguf
from mnemotomy.core.keys import file_digest


def locate_model(name: str, folder: Path = Path()) -> str:
    """The path of the folder or ``.gguf`` file ``name``, relative to ``folder``; if there is none, ``name``: a hub id.

    Raises:
        ModelError: ``name`` can only be a folder or such a file, which does not exist.
    """
    local = seen_from(folder, name)
    if is_gguf(name) and not local.is_file():
        raise ModelError(f"the model file {local} does not exist")
    if local.is_dir() or is_gguf(name):
        return str(local)
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or local.exists():
        fault = "is a file" if local.is_file() else "does not exist"
        raise ModelError(f"the model folder {local} {fault}")
    return name


def seen_from(folder: Path, name: str) -> Path:
    """``name`` as a path relative to ``folder``, with ``~`` as the home folder."""
    try:
        return folder / Path(name).expanduser()
    except RuntimeError:  # no user of that name
        return folder / name


def source_of(name: str | Path) -> dict[str, Any]:
    """What a record says of where a model came from: its name; of a file or an adapter, also content and base."""
    found: dict[str, Any] = {"name": str(name)}
    if is_gguf(name):
        found["sha256"] = file_digest(name)
    elif is_adapter(name):
        found["adapter"] = {file: file_digest(Path(name) / file) for file in (CONFIGURATION, WEIGHTS)}
        found["base"] = source_of(base_of(name))
    return found


def base_of(folder: str | Path, _seen: tuple[Path, ...] = ()) -> str:
    """The base of an adapter's folder: a folder, a ``.gguf`` file, or a hub id.

    Raises:
        ModelError: the folder names none, or one that does not exist, or it is its own base.
    """
    path = Path(folder).resolve()
    if path in _seen:
        raise ModelError(f"the adapter {folder} is its own base; name another as base_model_name_or_path")
    found = locate_model(base_name(folder))
    if is_adapter(found):
        base_of(found, (*_seen, path))
    return found
