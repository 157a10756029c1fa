"""Our safetensors files: tensors, the kind and version of the file, and a JSON header."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import save_file
from torch import Tensor

from mnemotomy.core.errors import ArtifactError
from mnemotomy.core.files import output_file

_STUMBLES = (KeyError, TypeError, ValueError, AttributeError, RuntimeError, safetensors.SafetensorError)


@dataclass(frozen=True)
class Artifact:
    """A kind of file.

    Attributes:
        format: its name, as it stands in the file.
        what: it is and how one comes about, for errors.
        version: of what is written; later ones are refused.
    """

    format: str
    what: str
    version: int = 1

    def write(self, path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Write a file, all of it or nothing."""
        metadata = {"format": self.format, "version": str(self.version), "header": json.dumps(header)}
        with output_file(path) as file:
            save_file(dict(tensors), file, metadata=metadata)

    @contextmanager
    def reading(self, path: str | Path) -> Iterator[tuple[Any, dict[str, Any]]]:
        """The open safetensors file and its header.

        Raises:
            ArtifactError: the file is missing, damaged, of another kind or of a later version; also where the block
                inside stumbles over what the file holds.
        """
        if not Path(path).is_file():
            raise ArtifactError(f"there is no file {path}")
        try:
            opened = safetensors.safe_open(str(path), framework="pt")
        except (OSError, safetensors.SafetensorError) as error:
            raise ArtifactError(f"{path} is damaged or no safetensors file: {error}") from error
        with opened as file:
            header = self._header(file.metadata() or {}, path)
            try:
                yield file, header
            except (
                KeyError,
                TypeError,
                ValueError,
                AttributeError,
                RuntimeError,
                safetensors.SafetensorError,
            ) as error:
                raise ArtifactError(f"{path} is damaged: {error}") from error

    def _header(self, metadata: Mapping[str, str], path: str | Path) -> dict[str, Any]:
        if metadata.get("format") != self.format:
            raise ArtifactError(f"{path} is no {self.what}")
        try:
            version, header = int(metadata["version"]), json.loads(metadata["header"])
        except (KeyError, ValueError) as error:
            raise ArtifactError(f"{path} is damaged: its header cannot be read") from error
        if version > self.version:
            raise ArtifactError(f"{path} has format version {version}; update mnemotomy to read it")
        if not isinstance(header, dict):
            raise ArtifactError(f"{path} is damaged: its header cannot be read")
        return header
