"""Cells: results kept by their content, so that nothing is computed twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from mnemotomy.core.errors import ArtifactError
from mnemotomy.core.files import output_file
from mnemotomy.core.integrity import read_sealed, write_sealed

Result = TypeVar("Result")


@dataclass(frozen=True)
class Cells(Generic[Result]):
    """A folder of results, one file each.

    Attributes:
        folder: created with the first result.
        suffix: of the files, such as ``.json``.
        load: reads a file.
        save: writes a result to a file; an interruption leaves no file.
    """

    folder: Path
    suffix: str
    load: Callable[[Path], Result]
    save: Callable[[Result, Path], object]

    def path(self, name: str) -> Path:
        """The file of one result.

        Args:
            name: a key of everything the result depends on (``mnemotomy.core.keys.key``).

        Raises:
            ArtifactError: the file would lie outside the folder.
        """
        path = self.folder / f"{name}{self.suffix}"
        if not name or path.parent != self.folder or path.name != f"{name}{self.suffix}":
            raise ArtifactError(f"a cell named {name!r} would lie outside {self.folder}; name it by a key")
        return path

    def kept(self, name: str, compute: Callable[[], Result]) -> Result:
        """The result ``name``, read from its file, which is computed and written first if need be.

        Raises:
            ArtifactError: the file is damaged, or a link that leads nowhere.
        """
        path = self.path(name)
        if path.is_symlink() and not path.exists():  # writing would follow it out of the folder
            raise ArtifactError(f"{path} is a link that leads nowhere; remove it to compute it again")
        if not path.is_file():
            result = compute()
            with output_file(path) as file:
                self.save(result, file)
        return self.load(path)

    def __contains__(self, name: str) -> bool:
        return self.path(name).is_file()

    def remove(self, name: str) -> None:
        """Remove a result, so that it is computed again."""
        self.path(name).unlink(missing_ok=True)


def json_cells(folder: Path) -> Cells[dict[str, Any]]:
    """Cells of JSON objects."""
    return Cells(folder, ".json", _read, lambda result, path: write_sealed(path, result))


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_sealed(path)
    except ArtifactError as error:
        raise ArtifactError(f"{error}; remove it to compute it again") from error
