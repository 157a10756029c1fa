"""Reading a recipe from YAML: one-line errors, paths beside the recipe, a hash of all that the result depends on."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mnemotomy.core.errors import DataError
from mnemotomy.core.models import locate_model, seen_from
from mnemotomy.recipe.schema import Recipe


@dataclass(frozen=True)
class RecipeFile:
    """A recipe, its text, and the folder that its paths start from."""

    path: Path
    text: str
    recipe: Recipe

    @property
    def model(self) -> str:
        """The model's folder or hub id.

        Raises:
            ModelError: it reads like a folder, and there is none.
        """
        return locate_model(self.recipe.model, self.path.parent)

    @property
    def base(self) -> str | None:
        """The base model's folder or hub id, if there is one. Errors as for ``model``."""
        return None if self.recipe.base is None else locate_model(self.recipe.base, self.path.parent)

    @property
    def files(self) -> dict[str, list[Path]]:
        """The files of every concept, the reference's last."""
        here = self.path.parent
        return {name: [seen_from(here, file) for file in files] for name, files in self.recipe.files.items()}

    @cached_property
    def digests(self) -> dict[str, list[str]]:
        """The SHA-256 of every concept file.

        Raises:
            DataError: a file is missing or unreadable.
        """
        return {name: [_digest(file, self.path, name) for file in files] for name, files in self.files.items()}

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the recipe as canonical JSON, with the concept files' content in the place of their paths."""
        content = self.recipe.model_dump(mode="json", exclude={"reference"}) | {"concepts": self.digests}
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def load_recipe(path: str | Path) -> RecipeFile:
    """Read and check a recipe; its concept files are read later.

    Raises:
        DataError: it is missing, no YAML, or a field is wrong; file, field and what is allowed are named.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        data = yaml.load(text, _Loader)
    except FileNotFoundError:
        raise DataError(f"there is no recipe {path}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} is no YAML: {_place(error)}") from error
    if not isinstance(data, dict):
        raise DataError(f"{path}: a recipe is a mapping of fields, of which 'model' and 'concepts' are needed")
    try:
        recipe = Recipe.model_validate_json(json.dumps(data, default=str))
    except (ValidationError, TypeError, ValueError) as error:
        raise DataError(f"{path}: {_first_problem(error)}") from error
    return RecipeFile(path, text, recipe)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's booleans and numbers, keys as they are written, and none twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", node.start_mark)
            seen.add(key.value)
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        text = str(node.value)
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


# PyYAML reads 1e-6 as a string, 010 as 8, 1:30 as 90, and a concept called "no" or "on" as a boolean
_TYPES = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("float", "int", "bool"))
_Loader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0] not in _TYPES]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor(_TYPES[1], _Loader.construct_whole)
_Loader.add_implicit_resolver(_TYPES[1], re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:\.\d+|\d+\.\d*)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.inf|\.nan)$"),
    list("-+0123456789."),
)


def _place(error: Exception) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    return f"{error.problem} at line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"


def _first_problem(error: Exception) -> str:
    """The first problem in words, and how many others there are."""
    if not isinstance(error, ValidationError):
        return str(error)
    problems = error.errors()
    others = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return _describe(problems[0]) + others


def _describe(problem: Mapping[str, Any]) -> str:
    field = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        fields = list(Recipe.model_fields)
        close = difflib.get_close_matches(field, fields, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown field {field!r}; {hint}there are {', '.join(fields)}"
    if problem["type"] == "missing":
        return f"the field {field!r} is missing"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{field}: {message}" if field else message


def _digest(file: Path, recipe: Path, concept: str) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise DataError(f"{recipe}: {concept}: there is no file {file}") from None
    except OSError as error:
        raise DataError(f"{recipe}: {concept}: cannot read {file}: {error.strerror}") from error
