"""The fields of a recipe and their values: an edit of moments, or a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.settings import explain, group
from mnemotomy.engram.cut import CUT, RelativeCut
from mnemotomy.engram.filters import FILTER, Soft
from mnemotomy.engram.strength import RULES
from mnemotomy.engram.subjects import NEIGHBOURS
from mnemotomy.methods.language.self_reference import SelfReference, self_reference_of
from mnemotomy.methods.registry import choice_of
from mnemotomy.text.batches import BATCH_SIZE
from mnemotomy.text.encoding import MAX_LENGTH, Positions
from mnemotomy.text.records import REFERENCE
from mnemotomy.text.template import TemplateSettings

Names = tuple[str, ...]


if TYPE_CHECKING:
    from mnemotomy.engram.cut import Cut as AnyCut
    from mnemotomy.engram.filters import Filter as AnyFilter

    AnyTemplate = TemplateSettings
else:
    AnyCut, AnyFilter, AnyTemplate = CUT.annotation(), FILTER.annotation(), group(TemplateSettings)


_LISTS = ("reference", "neighbours", "erase", "inject", "forget", "retain")


class _Base(BaseModel):
    """What every recipe says. Paths are relative to the recipe's file.

    Attributes:
        model: a folder or a hub id.
        dtype: of the model, in memory and as saved.
        template: what stands around questions and answers.
        trust_remote_code: run the Python code that comes with the models; it can do anything that you can.
        force: continue where a guard speaks against the edit (``guarding.Guards``); the result is the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    model: str = Field(min_length=1)
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    template: AnyTemplate = TemplateSettings()
    trust_remote_code: bool = False
    force: bool = False

    @field_validator(*_LISTS, mode="before", check_fields=False)
    @classmethod
    def _one_or_many(cls, value: Any, field: ValidationInfo) -> Any:
        return () if field.field_name in ("erase", "inject", "neighbours") and value == [] else _names(value, "it")


class EditRecipe(_Base):
    """An edit of one model, from concept files or from saved moments.

    Attributes:
        base: the model that ``model`` was trained from; the engrams are then those of the difference (Eq. 3).
        concepts: the files of each concept. A concept that is neither erased nor injected belongs to the reference.
        reference: the files of the reference.
        moments: a file from ``mnemotomy collect``, instead of ``concepts`` and ``reference``. It settles sites, layers,
            positions, template, length and dtype.
        erase, inject: names of concepts. If neither is given, all are erased.
        sites: ``all-linear``, ``all``, a regular expression, or a list of name suffixes, which may include
            ``all-linear``, ``output-head`` and ``input-embedding``.
        layers: only these blocks.
        positions: which tokens count: those of the ``answer``, the ``predicting`` ones before them, or ``all``.
        cut: which eigendirections of Σ_total are inverted.
        filter: how much is taken of a direction that the concept shares with the reference.
        outputs: take only what also writes in the concepts' directions (``Atlas.output_operator``).
        strength: a number, a rule, or a number per site.
        batch_size: examples in a forward pass.
        max_length: the most tokens of an example; the rest is cut off.
        untie: give a weight that two layers share its own copy if only one of them is edited.
        subjects: read the concept at the last token of each line's ``subject`` alone (``forget.subjects``).
        neighbours: files of facts about other subjects, which belong to its reference.
    """

    COLLECTING: ClassVar = ("concepts", "reference", "batch_size", "subjects", "neighbours")
    """Fields that make no sense with saved moments."""

    base: str | None = Field(default=None, min_length=1)
    concepts: dict[str, Names] = {}
    reference: Names = ()
    moments: str | None = Field(default=None, min_length=1)
    erase: Names = ()
    inject: Names = ()
    sites: str | Names = "all-linear"
    layers: tuple[int, ...] | None = None
    positions: Positions = "answer"
    cut: AnyCut = RelativeCut()
    filter: AnyFilter = Soft()
    outputs: bool = False
    strength: float | str | dict[str, float] = 1.0
    batch_size: int = Field(default=BATCH_SIZE, ge=1)
    max_length: int = Field(default=MAX_LENGTH, ge=1)
    untie: bool = False
    subjects: bool = False
    neighbours: Names = ()

    @property
    def files(self) -> dict[str, Names]:
        """The files of every concept as the recipe names them, the reference's last; or the file of moments."""
        if self.moments is not None:
            return {"moments": (self.moments,)}
        more = {NEIGHBOURS: self.neighbours, REFERENCE: self.reference}
        return {**self.concepts, **{name: files for name, files in more.items() if files}}

    @property
    def models(self) -> Names:
        """The other models that the recipe reads."""
        return () if self.base is None else (self.base,)

    @field_validator("concepts", mode="before")
    @classmethod
    def _files_of_concepts(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not value:
            raise ValueError("give at least one concept, as 'name: file.jsonl'")
        for name in value:
            if not name.strip() or not name.isprintable():
                raise ValueError(f"{name!r} is not a valid name for a concept")
            if name == REFERENCE:
                raise ValueError(f"{REFERENCE!r} is the name of the reference; give it as the field 'reference'")
        return {name: _names(files, f"the files of {name!r}") for name, files in value.items()}

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
            raise ValueError("give a block number, or a list of them")
        return tuple(blocks)

    @field_validator("strength", mode="before")
    @classmethod
    def _known_strength(cls, value: Any) -> Any:
        numbers = list(value.values()) if isinstance(value, dict) else [value]
        if not (value in RULES if isinstance(value, str) else numbers and all(map(_is_number, numbers))):
            raise ValueError(f"{value!r}: give a number, a number per site, or one of {', '.join(RULES)}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> EditRecipe:
        both = sorted(set(self.erase) & set(self.inject))
        if both:
            raise ValueError(f"inject: {both[0]!r} is erased too; leave it out of one")
        if not self.erase and not self.inject and "erase" in self.model_fields_set:
            raise ValueError("erase: neither erase nor inject names a concept; leave both out to erase all")
        if self.moments is None:
            self._check_concepts()
        else:
            settled = [name for name in self.COLLECTING if name in self.model_fields_set]
            if settled:
                raise ValueError(
                    f"{settled[0]}: the moments are already collected; leave out {settled[0]!r}, or 'moments'"
                )
        return self

    def _check_concepts(self) -> None:
        if self.subjects and (list(self.concepts) != ["forget"] or not self.reference):
            raise ValueError("subjects: give one concept, with the name 'forget', and a reference")
        if self.neighbours and not self.subjects:
            raise ValueError("neighbours: they are for an edit at the subjects; give 'subjects: true' too")
        known = ", ".join(self.concepts)
        for field in ("erase", "inject"):
            for name in getattr(self, field):
                if name not in self.concepts:
                    raise ValueError(f"{field}: no concept {name!r}; there are {known}")
        if not self.erase and not self.inject:
            object.__setattr__(self, "erase", tuple(self.concepts))
        for field in ("erase", "inject"):
            if not self.reference and len(set(getattr(self, field))) == len(self.concepts):
                raise ValueError("reference: it is missing, and no other concept can take its place; name its file")


class MethodRecipe(_Base):
    """A method for language models, run on a forget set and a retain set.

    Attributes:
        method: its name, or a mapping of its name and settings.
        forget: the files of the forget set.
        retain: the files of the retain set, or ``self:2000`` for 2000 texts that the model itself writes.
        opening: how the model's own texts begin, ``question`` or ``answer``.
        pretrained: the model before it learned either set, for methods that need it.
        seed: for everything drawn at random.
        end_token: whether the end token is part of an answer; ``auto`` finds out whether the model expects it.
    """

    method: Any
    forget: Names
    retain: Names
    opening: Literal["question", "answer"] = "question"
    pretrained: str | None = Field(default=None, min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    end_token: Literal["auto"] | bool = "auto"

    @property
    def written(self) -> dict[str, SelfReference]:
        """The sources among ``retain`` that the model itself writes."""
        found = {source: self_reference_of(source) for source in self.retain}
        drawn = {"opening": self.opening, "seed": self.seed}
        return {source: replace(how, **drawn) for source, how in found.items() if how is not None}  # type: ignore[arg-type]

    @property
    def files(self) -> dict[str, Names]:
        """The files of both sets, as the recipe names them."""
        return {"forget": self.forget, "retain": tuple(file for file in self.retain if file not in self.written)}

    @property
    def models(self) -> Names:
        """The other models that the recipe reads."""
        return () if self.pretrained is None else (self.pretrained,)

    @field_validator("method", mode="before")
    @classmethod
    def _known_method(cls, value: Any) -> Any:
        try:
            return choice_of("language models").parse(value)
        except ConfigurationError as error:
            raise ValueError(str(error)) from error

    @field_serializer("method")
    def _described(self, value: Any) -> dict[str, Any]:
        return choice_of("language models").describe(value)

    @model_validator(mode="after")
    def _consistent(self) -> MethodRecipe:
        try:
            _ = self.written
        except ConfigurationError as error:
            raise ValueError(f"retain: {error}") from error
        if "pretrained" in self.method.needs and self.pretrained is None:
            raise ValueError(
                f"pretrained: {self.method.name} needs the model before it learned; give its folder (--pretrained)"
            )
        return self


Recipe = EditRecipe | MethodRecipe


def recipe_of(data: Any) -> Recipe:
    """The recipe that a YAML file describes.

    Raises:
        ConfigurationError: a field is wrong, or the recipe is neither an edit nor a method, or both.
    """
    if not isinstance(data, Mapping):
        raise ConfigurationError("a recipe is a mapping of fields: 'model', and 'concepts' or 'method'")
    kind: type[EditRecipe | MethodRecipe] = MethodRecipe if "method" in data else EditRecipe
    other = EditRecipe if kind is MethodRecipe else MethodRecipe
    foreign = [name for name in data if name in other.model_fields and name not in kind.model_fields]
    if kind is MethodRecipe and foreign:
        raise ConfigurationError(
            f"{foreign[0]!r} belongs to an edit of concepts, but this recipe names a method; leave out one of the two"
        )
    if kind is EditRecipe and foreign:
        raise ConfigurationError(f"{foreign[0]!r} belongs to a method, but this recipe names none; give 'method' too")
    if kind is EditRecipe and "model" in data and not {"concepts", "moments"} & data.keys():
        raise ConfigurationError("the recipe does nothing; give 'concepts' or 'moments' for an edit, or 'method'")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ConfigurationError(explain(error, list(kind.model_fields))) from error


def _names(value: Any, what: str) -> Names:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{what} must be a string or a list of strings")
    return tuple(names)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
