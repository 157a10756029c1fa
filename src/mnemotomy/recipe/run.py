"""Carrying out a recipe: collect, edit, and save a folder that ``from_pretrained`` loads."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mnemotomy.core.errors import NonFiniteError, SelectionError, TiedWeightsError
from mnemotomy.core.files import check_replaceable
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.models import load_model, load_tokenizer, quiet_transformers, save_model
from mnemotomy.core.modules import tied_parameters
from mnemotomy.core.version import versions
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.moments import Moments
from mnemotomy.engram.sites import parameter_names, select_sites
from mnemotomy.engram.strength import erase, inject
from mnemotomy.recipe.collecting import Reading, check_writable, collect_files, remove_checkpoints
from mnemotomy.recipe.file import load_recipe
from mnemotomy.recipe.schema import Recipe
from mnemotomy.report.model_card import model_card
from mnemotomy.text.template import template_for

RECORD = "mnemotomy.json"


def run_recipe(
    path: str | Path, out_dir: str | Path, *, device: str = "cpu", resume: bool = True, progress: bool = True
) -> dict[str, Any]:
    """Carry out the recipe at ``path`` and save the edited model in ``out_dir``, all or nothing.

    Besides the model and its tokenizer the folder holds a model card, a copy of the recipe, and ``mnemotomy.json``.
    A folder that an earlier run wrote is replaced; any other that is not empty is refused.

    Args:
        path: the recipe.
        out_dir: the folder to write.
        device: where to compute.
        resume: go on from the checkpoint of an interrupted run.
        progress: show a bar on a terminal.

    Returns:
        What ``mnemotomy.json`` says: the recipe and its hash, fingerprints before and after, counts, versions, seconds.

    Raises:
        MnemotomyError: recipe, data, model or folder are not as they should be; nothing is written.
        OSError: ``out_dir`` cannot be written to.
    """
    loaded, out_dir = load_recipe(path), Path(out_dir)
    recipe, digests = loaded.recipe, loaded.digests
    inputs = [loaded.path, *(file for files in loaded.files.values() for file in files)]
    check_replaceable(out_dir, RECORD, [*inputs, *(one for one in (loaded.model, loaded.base) if one is not None)])
    check_writable(out_dir)
    clock = _Clock()
    with quiet_transformers():
        model = load_model(loaded.model, dtype=recipe.dtype, device=device)
        tokenizer = load_tokenizer(loaded.model)
        base = None if loaded.base is None else load_model(loaded.base, dtype=recipe.dtype, device=device)
    untied = _check_sites(model, recipe)
    clock.lap("load")
    reading = Reading(
        recipe.sites,
        recipe.layers,
        positions=recipe.positions,
        template=template_for(tokenizer, str(loaded.model), recipe.template.system, recipe.template.date),
        tags=recipe.template.tags,
        batch_size=recipe.batch_size,
        max_length=recipe.max_length,
        resume=resume,
        progress=progress,
    )
    moments, tokens = collect_files(model, tokenizer, loaded.files, reading, out_dir)
    clock.lap("collect")
    edit = _edit(model, base, moments, recipe)
    described, sites = edit.describe(), edit.sites()
    edit.apply_(model, tied="untie" if recipe.untie else "refuse")
    _check_finite(model)
    record = {
        "recipe": recipe.model_dump(mode="json"),
        "recipe_hash": loaded.hash,
        "files": digests,
        "model": {
            "class": type(model).__name__,
            "fingerprint_before": moments.origin.fingerprint,
            "fingerprint_after": fingerprint(model),
        },
        "edit": described,
        "sites": list(sites),
        "untied": untied,
        "counts": {"examples": moments.origin.examples, "tokens": tokens},
        "versions": versions(),
    }
    clock.lap("edit")
    record["seconds"] = clock.seconds
    extra = {
        "README.md": model_card(record),
        "recipe.yaml": loaded.text,
        RECORD: json.dumps(record, indent=2, ensure_ascii=False) + "\n",
    }
    with quiet_transformers():
        save_model(model, out_dir, tokenizer=tokenizer, extra=extra)
    remove_checkpoints(out_dir)
    return record


class _Clock:
    """Wall-clock seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """The time since the last lap was spent on ``phase``."""
        now = time.perf_counter()
        self.seconds[phase] = round(now - self._last, 3)
        self._last = now


def _check_sites(model: nn.Module, recipe: Recipe) -> list[str]:
    """The weights that will be untied, after every reason to refuse the recipe that the model gives."""
    sites = select_sites(model, recipe.sites, recipe.layers)
    if isinstance(recipe.strength, dict):
        unknown = [site for site in recipe.strength if site not in sites]
        if unknown:
            raise SelectionError(f"a strength is given for {unknown[0]!r}, which is none of the {len(sites)} sites")
    shared = tied_parameters(model)
    edited = [name for site in sites.values() for name in parameter_names(model, site) if name in shared]
    if edited and not recipe.untie:
        partner = next(name for name in shared[edited[0]] if name != edited[0])
        raise TiedWeightsError(
            f"{edited[0]!r} is the same tensor as {partner!r}, so that editing one would change the other; write "
            "'untie: true' in the recipe to give it a copy of its own first, or leave its site out"
        )
    return edited


def _edit(model: nn.Module, base: nn.Module | None, moments: Moments, recipe: Recipe) -> Edit:
    # one factorisation at a time, except where the strength is found from all engrams before any is applied
    keep = None if recipe.strength == "weight-norm" else 1
    atlas = Atlas(model, moments, recipe.make_cut(), base, keep=keep)
    parts = [
        make(atlas, concepts, recipe.strength, recipe.make_filter(), outputs=recipe.outputs)
        for make, concepts in ((erase, recipe.erase), (inject, recipe.inject))
        if concepts
    ]
    return sum(parts[1:], parts[0])


def _check_finite(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise NonFiniteError(f"the edit makes {name!r} infinite; choose a smaller strength or a coarser cut")
