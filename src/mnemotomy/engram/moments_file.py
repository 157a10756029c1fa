"""The moments file: safetensors with each symmetric matrix as its upper triangle, and a JSON header."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save_file
from torch import Tensor

from mnemotomy.core.errors import ArtifactError
from mnemotomy.core.files import replacing_file
from mnemotomy.engram.moments import Moments, Origin, Statistic
from mnemotomy.engram.second_moment import SecondMoment

FORMAT = "mnemotomy-moments"
VERSION = 1


def save_moments(moments: Moments, path: str | Path, *, progress: dict[str, Any] | None = None) -> None:
    """Write ``moments`` to ``path``; ``progress`` marks an unfinished collection and says how far it came."""
    tensors: dict[str, Tensor] = {}
    shapes: dict[str, dict[str, Any]] = {}
    written: set[int] = set()
    for i, (name, statistic) in enumerate(moments.statistics.items()):
        shapes[name] = {}
        for j, concept in enumerate(moments.concepts):
            if concept not in statistic:
                continue
            moment = statistic[concept]
            tensors[f"{i}.{j}.second"] = _own(moment.triangle, written)
            tensors[f"{i}.{j}.first"] = _own(moment.first, written)
            shapes[name][concept] = {"key": f"{i}.{j}", "shape": list(moment.shape), "count": moment.count}
    header = {
        "origin": asdict(moments.origin),
        "readers": dict(moments.readers),
        "concepts": list(moments.concepts),
        "statistics": shapes,
        "progress": progress,
    }
    metadata = {"format": FORMAT, "version": str(VERSION), "header": json.dumps(header)}
    with replacing_file(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def _own(tensor: Tensor, written: set[int]) -> Tensor:
    """The tensor on the CPU, a copy where another entry has its memory: two inputs may have one moment (a merge)."""
    found = tensor.contiguous().cpu()
    if found.data_ptr() in written:
        found = found.clone()
    written.add(found.data_ptr())
    return found


def load_moments(path: str | Path) -> tuple[Moments, dict[str, Any] | None]:
    """Read a moments file and, for an unfinished collection, how far it came.

    Raises:
        ArtifactError: the file is missing, damaged, of another kind or of a later version.
    """
    header = read_header(path, FORMAT, VERSION, "moments file; make one with 'mnemotomy collect' or Moments.save")
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            statistics: dict[str, Statistic] = {}
            for name, entries in header["statistics"].items():
                statistics[name] = {}
                for concept, entry in entries.items():
                    triangle = file.get_tensor(f"{entry['key']}.second")
                    first = file.get_tensor(f"{entry['key']}.first")
                    moment = SecondMoment.from_triangle(triangle, entry["shape"], first, int(entry["count"]))
                    statistics[name][concept] = moment
        origin = dict(header["origin"])
        if isinstance(origin["selector"], list):
            origin["selector"] = tuple(origin["selector"])
        if origin["layers"] is not None:
            origin["layers"] = tuple(origin["layers"])
        if not statistics.keys() >= set(header["readers"].values()) and header["progress"] is None:
            raise ValueError("a site has no statistic")
        moments = Moments(statistics, header["readers"], tuple(header["concepts"]), Origin(**origin))
        return moments, header["progress"]
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, safetensors.SafetensorError) as error:
        raise ArtifactError(f"{path} is damaged: {error}") from error


def read_header(path: str | Path, expected: str, version: int, what: str) -> dict[str, Any]:
    """The JSON header of one of our safetensors files.

    Raises:
        ArtifactError: the file is missing, damaged, of another kind or of a later version.
    """
    if not Path(path).is_file():
        raise ArtifactError(f"there is no file {path}")
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, safetensors.SafetensorError) as error:
        raise ArtifactError(f"{path} is damaged or no safetensors file: {error}") from error
    if metadata.get("format") != expected:
        raise ArtifactError(f"{path} is no {what}")
    try:
        found, header = int(metadata["version"]), json.loads(metadata["header"])
    except (KeyError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged: its header cannot be read") from error
    if found > version:
        raise ArtifactError(f"{path} has format version {found}; update mnemotomy to read it")
    if not isinstance(header, dict):
        raise ArtifactError(f"{path} is damaged: its header cannot be read")
    return header
