"""Reading a recipe from YAML: one-line errors, relative paths, a hash of everything that the result depends on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.core.files import check_input
from mnemotomy.core.integrity import check_listed
from mnemotomy.core.keys import file_digest, key
from mnemotomy.core.sources import locate_model, seen_from
from mnemotomy.core.yaml import read_yaml, write_yaml
from mnemotomy.recipe.record import by_role
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

    def text_from(self, out: Path) -> str:
        """The recipe as YAML, with paths seen from ``out``: it runs from there. Comments are lost."""
        return write_yaml(_seen(read_yaml(self.text), self.folder, out))

    def public_from(self, out: Path) -> str:
        """The same with the sets' files by role: it runs where they lie beside it under these names."""
        return write_yaml(_seen(read_yaml(self.text), self.folder, out) | self.fields_by_role)

    @cached_property
    def public_digests(self) -> dict[str, dict[str, str]]:
        """``digests`` with names that say no more than the role."""
        return {name: by_role(_file_name(name), found) for name, found in self.digests.items()}

    @property
    def fields_by_role(self) -> dict[str, Any]:
        """The fields that name files of the sets, with names that say no more than the role."""
        named, said = {name: list(found) for name, found in self.public_digests.items()}, self.recipe
        if isinstance(said, MethodRecipe):
            files = iter(named["retain"])
            retain = [one if one in said.written else next(files) for one in said.retain]
            return {"forget": named["forget"], "retain": retain}
        if said.moments is not None:
            return {"moments": named["moments"][0]}
        others = {name: files for name, files in named.items() if name not in said.concepts}
        return {"concepts": {name: named[name] for name in said.concepts}, **others}

    def forced(self) -> RecipeFile:
        """The same recipe with ``force: true``; comments are lost."""
        if self.recipe.force:
            return self
        text = write_yaml({**read_yaml(self.text), "force": True})
        return replace(self, recipe=self.recipe.model_copy(update={"force": True}), text=text)

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
            fields = self.recipe.model_dump(mode="json", exclude={"force"})
            return key(fields | digests | {"written": sorted(self.recipe.written)})
        return key(
            self.recipe.model_dump(mode="json", exclude={"reference", "neighbours", "moments", "force"})
            | {"concepts": digests}
        )

    def _digest(self, file: Path, name: str) -> str:
        where = name if self.path is None else f"{self.path}: {name}"
        try:
            return file_digest(file)
        except FileNotFoundError:
            raise DataError(f"{where}: {file} does not exist") from None
        except OSError as error:
            raise DataError(f"{where}: cannot read {file}: {error.strerror}") from error


def load_recipe(path: str | Path) -> RecipeFile:
    """Read and check a recipe, but not yet its concept files.

    Raises:
        DataError: it is missing or not valid YAML, or a field is wrong; names file, field and what is allowed.
    """
    path = Path(path)
    check_input(path)
    check_listed(path)
    try:
        text = path.read_text(encoding="utf-8")
        return RecipeFile(recipe_of(read_yaml(text)), text, path)
    except FileNotFoundError:
        raise DataError(f"the recipe {path} does not exist") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not valid YAML, as it is not UTF-8: {error}") from error
    except (DataError, ConfigurationError) as error:
        raise DataError(f"{path}: {error}") from error


def made_recipe(fields: dict[str, Any]) -> RecipeFile:
    """A recipe of these fields, with paths relative to the working folder.

    Raises:
        ConfigurationError: a field is wrong.
    """
    return RecipeFile(recipe_of(fields), write_yaml(fields))


def _file_name(name: str) -> str:
    """The name of a concept or set as that of a file."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "concept"


_PATHS = ("model", "base", "pretrained", "concepts", "reference", "neighbours", "moments", "forget", "retain")


def _seen(fields: Mapping[str, Any], folder: Path, out: Path) -> dict[str, Any]:
    """The fields, with paths relative to ``folder`` as seen from ``out``."""
    return {name: _moved(folder, out, one) if name in _PATHS else one for name, one in fields.items()}


def _moved(folder: Path, out: Path, value: Any) -> Any:
    """Paths that exist as seen from ``out``; anything else as it is, such as a hub id or ``self:2000``."""
    if isinstance(value, dict):
        return {name: _moved(folder, out, one) for name, one in value.items()}
    if isinstance(value, list):
        return [_moved(folder, out, one) for one in value]
    path = seen_from(folder, value) if isinstance(value, str) else None
    if path is None or not path.exists() or Path(value).is_absolute():
        return value
    return os.path.relpath(path.resolve(), out.resolve())
