"""The edit that a recipe describes, from moments that it collects or from saved ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from mnemotomy.core.clock import Clock
from mnemotomy.core.errors import ConceptError, ConfigurationError, SelectionError, TiedWeightsError
from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.core.modules import tied_parameters
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.moments import Moments
from mnemotomy.engram.sites import Site, parameter_names, select_sites, sites_by_name
from mnemotomy.engram.strength import erase, inject
from mnemotomy.recipe.collecting import Reading, collect_at_subjects, collect_files
from mnemotomy.recipe.file import RecipeFile
from mnemotomy.recipe.schema import EditRecipe
from mnemotomy.text.records import REFERENCE
from mnemotomy.text.template import Template, TemplateSettings


@dataclass(frozen=True)
class Prepared:
    """An edit and its model.

    Attributes:
        model, tokenizer: the recipe's, not yet edited.
        edit: what to add.
        recipe: with everything that the moments settle.
        untied: the weights that get their own copy.
        counts: examples and tokens by concept.
    """

    model: nn.Module
    tokenizer: Any
    edit: Edit
    recipe: EditRecipe
    untied: list[str]
    counts: dict[str, dict[str, int]]


def prepare_edit(
    loaded: RecipeFile, recipe: EditRecipe, output: Path, *, device: str, resume: bool, progress: bool, clock: Clock
) -> Prepared:
    """Prepare everything up to the edit itself; a recipe with saved moments reads no examples.

    Raises:
        MnemotomyError: the recipe, its files or its model are not valid.
    """
    saved = None
    if recipe.moments is not None:
        saved = Moments.load(loaded.files["moments"][0])
        recipe = settled_by(recipe, saved)
    model = load_model(loaded.model, dtype=recipe.dtype, device=device)
    tokenizer = load_tokenizer(loaded.model)
    base = None if loaded.other_model is None else load_model(loaded.other_model, dtype=recipe.dtype, device=device)
    if saved is None:
        untied = _check_sites(model, select_sites(model, recipe.sites, recipe.layers), recipe)
        clock.lap("load")
        reading = Reading(
            recipe.sites,
            recipe.layers,
            recipe.positions,
            recipe.template.made,
            recipe.template.tags,
            batch_size=recipe.batch_size,
            max_length=recipe.max_length,
            resume=resume,
            progress=progress,
        )
        if recipe.subjects:
            moments = collect_at_subjects(model, tokenizer, loaded.files, reading)
        else:
            moments, _ = collect_files(model, tokenizer, loaded.files, reading, output)
            recipe = recipe.model_copy(update={"max_length": (moments.origin.text or {})["max_length"]})
        clock.lap("collect")
        atlas = _atlas(model, moments, base, recipe)
    else:
        moments = saved.to(device)
        atlas = _atlas(model, moments, base, recipe)
        untied = _check_sites(model, atlas.sites, recipe)
        clock.lap("load")
    parts = [
        make(atlas, concepts, recipe.strength, recipe.filter, outputs=recipe.outputs)
        for make, concepts in ((erase, recipe.erase), (inject, recipe.inject))
        if concepts
    ]
    rows = {name: max(moments.count(site, name) for site in moments.readers) for name in moments.concepts}
    counts = {"examples": moments.origin.examples, "tokens": rows}
    return Prepared(model, tokenizer, sum(parts[1:], parts[0]), recipe, untied, counts)


def weight_norms(prepared: Prepared) -> dict[str, float]:
    """``‖W‖`` of every site that the edit touches."""
    sites = sites_by_name(prepared.model, prepared.edit.sites())
    return {name: float(site.weight().norm()) for name, site in sites.items()}


def settled_by(recipe: EditRecipe, moments: Moments) -> EditRecipe:
    """The recipe with everything that its moments settle.

    Raises:
        ConfigurationError: the recipe contradicts the moments.
        ConceptError: the moments lack a concept that it names, or the recipe must say what to erase.
    """
    origin = moments.origin
    if recipe.template.tags:
        raise ConfigurationError(
            "template: the moments are already collected, with or without tags; leave out 'tags', or collect again"
        )
    fixed: dict[str, Any] = {"sites": origin.selector, "layers": origin.layers, "dtype": origin.model_dtype}
    if origin.text is not None:
        template = TemplateSettings.of(Template(**origin.text["template"]))
        fixed |= {**origin.text, "template": template}
    for name, value in fixed.items():
        given = getattr(recipe, name)
        if name in recipe.model_fields_set and given != value:
            raise ConfigurationError(
                f"{name}: the moments were collected with {_shown(value)}, not with {_shown(given)}; leave it out, or "
                "collect again"
            )
    for name in (*recipe.erase, *recipe.inject):
        if name not in moments.concepts:
            raise ConceptError(f"no concept {name!r} in {recipe.moments}; there are {', '.join(moments.concepts)}")
    chosen = recipe.erase
    if not recipe.erase and not recipe.inject:
        if REFERENCE not in moments.concepts:
            raise ConceptError(
                f"{recipe.moments} has no concept {REFERENCE!r}; say what to erase, from {', '.join(moments.concepts)}"
            )
        chosen = tuple(name for name in moments.concepts if name != REFERENCE)
    return recipe.model_copy(update=fixed | {"erase": chosen})


def _atlas(model: nn.Module, moments: Moments, base: nn.Module | None, recipe: EditRecipe) -> Atlas:
    # one factorisation at a time, unless the strength depends on all engrams
    keep = None if recipe.strength == "weight-norm" else 1
    return Atlas(model, moments, recipe.cut, base, keep=keep)


def _check_sites(model: nn.Module, sites: Mapping[str, Site], recipe: EditRecipe) -> list[str]:
    """Check the recipe against the model; returns the weights to untie."""
    if isinstance(recipe.strength, dict):
        unknown = [site for site in recipe.strength if site not in sites]
        if unknown:
            raise SelectionError(f"strength: {unknown[0]!r} is not one of the {len(sites)} sites")
    shared = tied_parameters(model)
    edited = [name for site in sites.values() for name in parameter_names(model, site) if name in shared]
    if edited and not recipe.untie:
        partner = next(name for name in shared[edited[0]] if name != edited[0])
        raise TiedWeightsError(
            f"{edited[0]!r} is the same tensor as {partner!r}, so editing one would change the other; write "
            "'untie: true' in the recipe to give it its own copy, or leave its site out"
        )
    return edited


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
