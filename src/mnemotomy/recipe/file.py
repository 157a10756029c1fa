"""Reading a recipe from YAML: one-line errors, relative paths, a hash of everything that the result depends on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.core.files import check_input
from mnemotomy.core.keys import file_digest, key
from mnemotomy.core.models import locate_model, seen_from
from mnemotomy.core.yaml import read_yaml, write_yaml
from mnemotomy.recipe.schema import MethodRecipe, Recipe, recipe_of


@dataclass(frozen=True)
class RecipeFile:
    """A recipe, its text and its file; without a file, paths are relative to the working folder."""

    recipe: Recipe
    text: str
    path: Path | None = None

    @property
    def folder(self) -> Path:
        return Path() if self.path is None else self.path.parent

    @property
    def model(self) -> str:
        """The model's folder or hub id.

        Raises:
            ModelError: it looks like a folder, and there is none.
        """
        return locate_model(self.recipe.model, self.folder)

    @property
    def other_model(self) -> str | None:
        """The base or pretrained model's folder or hub id, if there is one; raises as ``model``."""
        return next((locate_model(name, self.folder) for name in self.recipe.models), None)

    @property
    def files(self) -> dict[str, list[Path]]:
        """The files of every concept or set, the reference's last; or the file of moments."""
        return {name: [seen_from(self.folder, file) for file in files] for name, files in self.recipe.files.items()}

    @property
    def inputs(self) -> list[Path]:
        """Every file and folder that is read."""
        models = [Path(name) for name in (self.model, self.other_model) if name is not None]
        recipe = [] if self.path is None else [self.path]
        return [*recipe, *(file for files in self.files.values() for file in files), *models]

    @cached_property
    def digests(self) -> dict[str, dict[str, str]]:
        """The SHA-256 of every file, by concept or set and by its name in the recipe.

        Raises:
            DataError: a file is missing or unreadable.
        """
        found = self.files
        return {
            name: {file: self._digest(path, name) for file, path in zip(files, found[name], strict=True)}
            for name, files in self.recipe.files.items()
        }

    @cached_property
    def hash(self) -> str:
        """A hash of the recipe, with the content of its files instead of their paths."""
        digests = {name: list(found.values()) for name, found in self.digests.items()}
        if isinstance(self.recipe, MethodRecipe):
            return key(self.recipe.model_dump(mode="json") | digests | {"written": sorted(self.recipe.written)})
        return key(self.recipe.model_dump(mode="json", exclude={"reference", "moments"}) | {"concepts": digests})

    def _digest(self, file: Path, name: str) -> str:
        where = name if self.path is None else f"{self.path}: {name}"
        try:
            return file_digest(file)
        except FileNotFoundError:
            raise DataError(f"{where}: there is no file {file}") from None
        except OSError as error:
            raise DataError(f"{where}: cannot read {file}: {error.strerror}") from error


def load_recipe(path: str | Path) -> RecipeFile:
    """Read and check a recipe, but not yet its concept files.

    Raises:
        DataError: it is missing or not valid YAML, or a field is wrong; names file, field and what is allowed.
    """
    path = Path(path)
    check_input(path)
    try:
        text = path.read_text(encoding="utf-8")
        return RecipeFile(recipe_of(read_yaml(text)), text, path)
    except FileNotFoundError:
        raise DataError(f"there is no recipe {path}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not valid YAML, as it is not UTF-8: {error}") from error
    except (DataError, ConfigurationError) as error:
        raise DataError(f"{path}: {error}") from error


def made_recipe(fields: dict[str, Any], out: Path) -> RecipeFile:
    """A recipe of these fields, with paths relative to the working folder; its text has them as seen from ``out``.

    Raises:
        ConfigurationError: a field is wrong.
    """
    recipe = recipe_of(fields)
    paths = {name: fields[name] for name in ("model", "pretrained", "forget", "retain") if name in fields}
    return RecipeFile(recipe, write_yaml(fields | {name: _from(out, value) for name, value in paths.items()}))


def _from(out: Path, value: Any) -> Any:
    """Paths that exist as seen from ``out``; anything else as it is, such as a hub id or ``self:2000``."""
    if isinstance(value, list):
        return [_from(out, one) for one in value]
    path = Path(value).expanduser()
    return os.path.relpath(path, out) if path.exists() else value
