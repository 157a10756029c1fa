"""What a recipe may say, and what each field may hold: an edit of moments, or a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from mnemotomy.methods.language.self_reference import SelfReference, self_reference_of
from mnemotomy.methods.registry import choice_of
from mnemotomy.text.batches import BATCH_SIZE
from mnemotomy.text.encoding import MAX_LENGTH, Positions
from mnemotomy.text.records import REFERENCE
from mnemotomy.text.template import OPEN_UNLEARNING, Template

Names = tuple[str, ...]


@dataclass(frozen=True)
class TemplateSettings:
    """What stands around questions and answers.

    Attributes:
        system: the system message of a chat template, OpenUnlearning's by default; empty for none.
        date: what a chat template writes as today's date.
        tags: ask as ``Question: … Answer: …``: for tokenizers without a chat template.
    """

    system: str | None = None
    date: str | None = None
    tags: bool = False

    @property
    def made(self) -> Template:
        """OpenUnlearning's template with what is changed in it."""
        default = OPEN_UNLEARNING
        system = default.system if self.system is None else self.system or None
        return replace(default, system=system, date=default.date if self.date is None else self.date or None)

    @classmethod
    def of(cls, template: Template, tags: bool = False) -> TemplateSettings:
        """The settings that give ``template``."""
        default = OPEN_UNLEARNING
        system = None if template.system == default.system else template.system or ""
        return cls(system, None if template.date == default.date else template.date or "", tags)


if TYPE_CHECKING:
    from mnemotomy.engram.cut import Cut as AnyCut
    from mnemotomy.engram.filters import Filter as AnyFilter

    AnyTemplate = TemplateSettings
else:
    AnyCut, AnyFilter, AnyTemplate = CUT.annotation(), FILTER.annotation(), group(TemplateSettings)


class _Base(BaseModel):
    """What every recipe says. Paths are relative to the recipe's file.

    Attributes:
        model: a folder, or a hub id.
        dtype: of the model while it is worked on, and as it is saved.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    model: str = Field(min_length=1)
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"


class EditRecipe(_Base):
    """An edit of one model, from concept files or from saved moments.

    Attributes:
        base: the model that ``model`` was trained from; engrams are then of the difference (Eq. 3).
        concepts: the files of each concept. One that is neither erased nor injected is part of the reference.
        reference: the files of the reference.
        moments: a file that ``mnemotomy collect`` wrote, in place of ``concepts`` and ``reference``. What it was
            collected with stands: sites, layers, positions, template, length and dtype.
        erase, inject: names of concepts. If neither is given, all of them are erased.
        sites: ``all-linear``, ``all``, a regular expression, or a list of name suffixes, among which ``all-linear``,
            ``output-head`` and ``input-embedding`` may stand.
        positions: which tokens count: those of the ``answer``, the ``predicting`` ones before them, or ``all``.
        template: what stands around questions and answers.
        layers: only these blocks.
        cut: which eigendirections of Σ_total are inverted.
        filter: what becomes of a direction that the concept shares with the rest.
        outputs: take only what also writes in the concepts' directions (``Atlas.output_operator``).
        strength: a number, a rule, or a number for each site.
        batch_size: examples in one forward pass.
        max_length: tokens of an example; what is beyond is cut off.
        untie: give a weight that two layers share a copy of its own where only one of them is edited.
    """

    COLLECTING: ClassVar = ("concepts", "reference", "batch_size")
    """What is of no use where moments are collected already."""

    base: str | None = Field(default=None, min_length=1)
    concepts: dict[str, Names] = {}
    reference: Names = ()
    moments: str | None = Field(default=None, min_length=1)
    erase: Names = ()
    inject: Names = ()
    sites: str | Names = "all-linear"
    layers: tuple[int, ...] | None = None
    positions: Positions = "answer"
    template: AnyTemplate = TemplateSettings()
    cut: AnyCut = RelativeCut()
    filter: AnyFilter = Soft()
    outputs: bool = False
    strength: float | str | dict[str, float] = 1.0
    batch_size: int = Field(default=BATCH_SIZE, ge=1)
    max_length: int = Field(default=MAX_LENGTH, ge=1)
    untie: bool = False

    @property
    def files(self) -> dict[str, Names]:
        """The files of every concept, the reference's last, as the recipe names them; or the moments."""
        if self.moments is not None:
            return {"moments": (self.moments,)}
        return {**self.concepts, **({REFERENCE: self.reference} if self.reference else {})}

    @property
    def models(self) -> Names:
        """The models beside ``model`` that are read."""
        return () if self.base is None else (self.base,)

    @field_validator("concepts", mode="before")
    @classmethod
    def _files_of_concepts(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not value:
            raise ValueError("give at least one concept, as 'name: file.jsonl'")
        for name in value:
            if not name.strip() or not name.isprintable():
                raise ValueError(f"{name!r} is not a name for a concept")
            if name == REFERENCE:
                raise ValueError(f"{REFERENCE!r} is the name of the reference; give it as a field of its own")
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

    @field_validator("strength", mode="before")
    @classmethod
    def _known_strength(cls, value: Any) -> Any:
        numbers = list(value.values()) if isinstance(value, dict) else [value]
        fits = value in RULES if isinstance(value, str) else numbers and all(map(_is_number, numbers))
        if not fits:
            raise ValueError(f"{value!r}: give a number, a number for each site, or one of {', '.join(RULES)}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> EditRecipe:
        both = sorted(set(self.erase) & set(self.inject))
        if both:
            raise ValueError(f"inject: {both[0]!r} is to be erased too")
        if not self.erase and not self.inject and "erase" in self.model_fields_set:
            raise ValueError("erase: it names no concept, and inject neither; leave both out to erase all")
        if self.moments is None:
            self._check_concepts()
        else:
            settled = [name for name in self.COLLECTING if name in self.model_fields_set]
            if settled:
                raise ValueError(f"{settled[0]}: the moments are collected already; leave it out, or 'moments'")
        return self

    def _check_concepts(self) -> None:
        known = ", ".join(self.concepts)
        for field in ("erase", "inject"):
            for name in getattr(self, field):
                if name not in self.concepts:
                    raise ValueError(f"{field}: no concept {name!r}; there are {known}")
        if not self.erase and not self.inject:
            object.__setattr__(self, "erase", tuple(self.concepts))
        for field in ("erase", "inject"):
            if not self.reference and len(set(getattr(self, field))) == len(self.concepts):
                raise ValueError("reference: without it nothing is left to stand against the concepts; name its file")


class MethodRecipe(_Base):
    """A method for language models, run on a forget set and a retain set.

    Attributes:
        method: its name, or a mapping of its name and settings.
        forget: the files of the forget set.
        retain: the files of the retain set; ``self:2000`` for texts that the model itself writes.
        opening: of the model's own texts, ``question`` or ``answer``.
        pretrained: the model before it learned either set, for methods that need it.
        seed: of whatever is drawn at random.
        template: what stands around questions and answers.
    """

    method: Any
    forget: Names
    retain: Names
    opening: Literal["question", "answer"] = "question"
    pretrained: str | None = Field(default=None, min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    template: AnyTemplate = TemplateSettings()

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
        """The models beside ``model`` that are read."""
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

    @field_validator("forget", "retain", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return _names(value, "it")

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
    """A recipe from what its YAML says.

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
            f"{foreign[0]!r} belongs to an edit of concepts, and this recipe names a method; a recipe is one of the two"
        )
    if kind is EditRecipe and foreign:
        raise ConfigurationError(f"{foreign[0]!r} belongs to a method, and this recipe names none; give 'method' too")
    if kind is EditRecipe and "model" in data and not {"concepts", "moments"} & data.keys():
        raise ConfigurationError("nothing is said to be done; give 'concepts' or 'moments' for an edit, or 'method'")
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
