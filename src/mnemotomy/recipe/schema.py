"""What a recipe may say, and what each field may hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from mnemotomy.core.errors import DataError
from mnemotomy.engram.cut import CUTS, Cut, from_description
from mnemotomy.engram.filters import FILTERS, Filter
from mnemotomy.engram.strength import RULES
from mnemotomy.text.records import REFERENCE

Names = tuple[str, ...]


class TemplateSettings(BaseModel):
    """What stands around questions and answers.

    Attributes:
        system: the system message of a chat template, OpenUnlearning's by default; empty for none.
        date: what a chat template writes as today's date.
        tags: ask as ``Question: … Answer: …``: for tokenizers without a chat template.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    system: str | None = None
    date: str | None = None
    tags: bool = False


class Recipe(BaseModel):
    """An edit of one model. Paths are relative to the recipe's file.

    Attributes:
        model: a folder, or a hub id.
        base: the model that ``model`` was trained from; engrams are then of the difference (Eq. 3).
        concepts: the files of each concept. One that is neither erased nor injected is part of the reference.
        reference: the files of what is to stay.
        erase, inject: names of concepts. If neither is given, all of them are erased.
        sites: ``all-linear``, ``all``, a regular expression, or a list of name suffixes, among which ``all-linear``,
            ``output-head`` and ``input-embedding`` may stand.
        layers: only these blocks.
        positions: which tokens enter the moments: ``answer``, ``predicting`` or ``all``.
        template: what stands around questions and answers.
        cut: which eigendirections of Σ_total are inverted.
        filter: what becomes of a direction that the concept shares with the rest.
        outputs: take only what also writes in the concepts' directions (``Atlas.output_operator``).
        strength: a number, a rule, or a number for each site.
        batch_size: examples in one forward pass.
        max_length: tokens of an example; what is beyond is cut off.
        dtype: of the model while it is edited, and as it is saved.
        untie: give a weight that two layers share a copy of its own where only one of them is edited.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    model: str = Field(min_length=1)
    base: str | None = Field(default=None, min_length=1)
    concepts: dict[str, Names]
    reference: Names = ()
    erase: Names = ()
    inject: Names = ()
    sites: str | Names = "all-linear"
    layers: tuple[int, ...] | None = None
    positions: Literal["answer", "predicting", "all"] = "answer"
    template: TemplateSettings = TemplateSettings()
    cut: dict[str, Any] = {"kind": "relative", "ratio": 1e-6}
    filter: dict[str, Any] = {"kind": "soft"}
    outputs: bool = False
    strength: float | str | dict[str, float] = 1.0
    batch_size: int = Field(default=32, ge=1)
    max_length: int = Field(default=512, ge=1)
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    untie: bool = False

    @property
    def files(self) -> dict[str, Names]:
        """The files of every concept, the reference's last, as the recipe names them."""
        return {**self.concepts, **({REFERENCE: self.reference} if self.reference else {})}

    def make_cut(self) -> Cut:
        """The cut as an object."""
        cut: Cut = from_description(self.cut, CUTS, "cut")
        return cut

    def make_filter(self) -> Filter:
        """The filter as an object."""
        made: Filter = from_description(self.filter, FILTERS, "filter")
        return made

    @field_validator("concepts", mode="before")
    @classmethod
    def _files_of_concepts(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not value:
            raise ValueError("give at least one concept, as 'name: file.jsonl'")
        for name in value:
            if not name.strip() or not name.isprintable():
                raise ValueError(f"{name!r} is no name for a concept")
            if name == REFERENCE:
                raise ValueError(f"{REFERENCE!r} is the name of what is to stay; give it as a field of its own")
        return {name: _names(files, f"the files of {name!r}") for name, files in value.items()}

    @field_validator("reference", "erase", "inject", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any, field: ValidationInfo) -> Any:
        return () if field.field_name in ("erase", "inject") and value == [] else _names(value, "it")

    @field_validator("sites", mode="before")
    @classmethod
    def _selector(cls, value: Any) -> Any:
        return value if isinstance(value, str) and value else _names(value, "it")

    @field_validator("layers", mode="before")
    @classmethod
    def _blocks(cls, value: Any) -> Any:
        if value is None:
            return None
        blocks = value if isinstance(value, list) else [value]
        if not blocks or not all(type(block) is int for block in blocks):
            raise ValueError("give the number of a block, or a list of numbers")
        return tuple(blocks)

    @field_validator("cut", mode="before")
    @classmethod
    def _known_cut(cls, value: Any) -> Any:
        return described(value, CUTS, "cut")

    @field_validator("filter", mode="before")
    @classmethod
    def _known_filter(cls, value: Any) -> Any:
        return described(value, FILTERS, "filter")

    @field_validator("strength", mode="before")
    @classmethod
    def _known_strength(cls, value: Any) -> Any:
        numbers = list(value.values()) if isinstance(value, dict) else [value]
        fits = value in RULES if isinstance(value, str) else numbers and all(map(_is_number, numbers))
        if not fits:
            raise ValueError(f"{value!r}: give a number, a number for each site, or one of {', '.join(RULES)}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        known = ", ".join(self.concepts)
        for field in ("erase", "inject"):
            for name in getattr(self, field):
                if name not in self.concepts:
                    raise ValueError(f"{field}: no concept {name!r}; there are {known}")
        both = sorted(set(self.erase) & set(self.inject))
        if both:
            raise ValueError(f"inject: {both[0]!r} is to be erased too")
        if not self.erase and not self.inject and "erase" in self.model_fields_set:
            raise ValueError("erase: it names no concept, and inject neither; leave both out to erase all")
        if not self.erase and not self.inject:
            object.__setattr__(self, "erase", tuple(self.concepts))
        for field in ("erase", "inject"):
            if not self.reference and len(set(getattr(self, field))) == len(self.concepts):
                raise ValueError("reference: without it nothing is left to stand against the concepts; name its file")
        return self


def described(value: Any, registry: Mapping[str, type[Any]], what: str) -> dict[str, Any]:
    """A cut or filter, given as its name or as ``{kind, **parameters}``, with all its parameters.

    Raises:
        ValueError: an unknown kind or parameter, one that is missing, or one that is no number or out of its range.
    """
    given = {"kind": value} if isinstance(value, str) else value
    kind = given.get("kind") if isinstance(given, dict) else given
    if not isinstance(given, dict) or not isinstance(kind, str) or kind not in registry:
        raise ValueError(f"unknown {what} {kind!r}; choose one of {', '.join(registry)}")
    fields = {field.name: field.default for field in dataclasses.fields(registry[kind])}
    for name, number in given.items():
        if name == "kind":
            continue
        if name not in fields:
            takes = ", ".join(fields) or "no parameter"
            raise ValueError(f"unknown parameter {name!r} of {what} {kind!r}; it takes {takes}")
        if not _is_number(number) or number < 0:
            raise ValueError(f"{name} of {what} {kind!r} must be a number of at least 0, not {number!r}")
    missing = [name for name, default in fields.items() if default is dataclasses.MISSING and name not in given]
    if missing:
        raise ValueError(f"{what} {kind!r} needs {missing[0]!r}")
    parameters = {name: given.get(name, default) for name, default in fields.items()}
    try:
        registry[kind](**parameters)
    except DataError as error:
        raise ValueError(str(error)) from None
    return {"kind": kind, **parameters}


def _names(value: Any, what: str) -> Names:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{what} must be a string or a list of strings")
    return tuple(names)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
