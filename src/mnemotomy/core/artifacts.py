"""Our safetensors files: tensors, the kind and version of the file, and a JSON header."""

from __future__ import annotations

import json
import warnings
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
from mnemotomy.core.integrity import BLANK, is_sealed, seal
from mnemotomy.core.json_text import read_json

_KEY = "mnemotomy"
_READ_ERRORS = (LookupError, TypeError, ValueError, AttributeError, RuntimeError, safetensors.SafetensorError)


@dataclass(frozen=True)
class Artifact:
    """A kind of file.

    Attributes:
        format: its name, as the file records it.
        what: "an edit; make one with ...", for errors.
        version: written into the file; later versions are refused.
        shape: a ``TypedDict`` that the header must match; None for any mapping.
    """

    format: str
    what: str
    version: int = 1
    shape: Any = None

    def write(self, path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Write all of a file or nothing, with a hash of its content; the same content gives the same bytes."""
        described = {"content": BLANK, "format": self.format, "version": self.version, "header": header}
        with output_file(path) as file:
            save_file(
                dict(tensors), file, metadata={_KEY: json.dumps(described)}
            )  # several entries would come in random order
            seal(file)

    @contextmanager
    def reading(self, path: str | Path, *, verify: bool = True) -> Iterator[tuple[Any, dict[str, Any]]]:
        """The open safetensors file and its header; ``verify`` checks it against its hash first.

        Raises:
            ArtifactError: the file is missing, damaged, of another kind or of a later version, or the block inside
                fails on its content.
        """
        if not Path(path).is_file():
            raise ArtifactError(f"{path} does not exist")
        try:
            opened = safetensors.safe_open(str(path), framework="pt")
        except (OSError, safetensors.SafetensorError) as error:
            raise ArtifactError(f"{path} is damaged or not a safetensors file: {error}") from error
        with opened as file:
            try:
                sealed = is_sealed(path) if verify else None
                yield file, self._header(file.metadata() or {}, path, sealed)
            except _READ_ERRORS as error:
                raise ArtifactError(f"{path} is damaged: {error}") from error

    def _header(self, metadata: Mapping[str, str], path: str | Path, sealed: bool | None) -> dict[str, Any]:
        try:
            if _KEY in metadata:
                described = read_json(metadata[_KEY])
                kind, version, header = described["format"], int(described["version"]), described["header"]
            elif "format" in metadata and metadata["format"] != self.format:
                kind, version, header = metadata["format"], 0, {}
            elif "format" in metadata:
                kind, version, header = self.format, int(metadata["version"]), read_json(metadata["header"])
            else:
                kind, version, header = None, 0, {}
        except (KeyError, ValueError, TypeError) as error:
            raise ArtifactError(f"{path} is damaged: its header cannot be read") from error
        if kind != self.format:
            raise ArtifactError(f"{path} is not {self.what}")
        if version > self.version:
            raise ArtifactError(f"{path} has format version {version}; update mnemotomy to read it")
        if not isinstance(header, dict) or (sealed is False and _KEY in metadata):
            raise ArtifactError(f"{path} is damaged: its header cannot be read")
        self._check_shape(header, path)
        if sealed is False:
            warnings.warn(
                f"{path} was written by an older version, without a hash of its content; damage would go unnoticed",
                stacklevel=4,
            )
        return header

    def _check_shape(self, header: Mapping[str, Any], path: str | Path) -> None:
        """A sealed file may still come from somebody else's program."""
        if self.shape is None:
            return
        from pydantic import TypeAdapter, ValidationError

        try:
            TypeAdapter(self.shape).validate_python(header, strict=True)
        except ValidationError as error:
            where = ".".join(map(str, error.errors(include_url=False)[0]["loc"]))
            raise ArtifactError(f"{path} is damaged: its header has a wrong {where!r}") from error
