"""Running a recipe: an edit or a method, saved as a model or as the edit alone."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mnemotomy.core.clock import Clock
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.files import check_beside, check_file, check_no_input, check_replaceable, write_text
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.models import quiet_transformers, trusting_code
from mnemotomy.core.sources import source_of
from mnemotomy.engram.edit import Tied
from mnemotomy.engram.subjects import NEIGHBOURS
from mnemotomy.methods.language.problem import sequences
from mnemotomy.recipe.collecting import check_writable, checkpoint_for, remove_checkpoints
from mnemotomy.recipe.editing import Prepared, prepare_edit, weight_norms
from mnemotomy.recipe.file import RecipeFile, load_recipe
from mnemotomy.recipe.guarding import Guards, Set, answers
from mnemotomy.recipe.record import (
    RECORDS,
    check_saveable,
    earlier_requests,
    recipe_beside,
    save_with_record,
    told,
    warn_of_size,
)
from mnemotomy.recipe.schema import MethodRecipe
from mnemotomy.recipe.unlearning import about_method, losses_in, prepare_problem
from mnemotomy.text.records import TextExample, read_examples


def run_recipe(
    recipe: str | Path | RecipeFile,
    out: str | Path,
    *,
    as_edit: bool = False,
    device: str = "cpu",
    resume: bool = True,
    progress: bool = True,
) -> dict[str, Any]:
    """Run a recipe and save the model in the folder ``out``, all or nothing.

    The folder contains the model, its tokenizer, a model card, the recipe with its files by role, and
    ``mnemotomy.json``: it names no file of the sets. A recipe that comes from no file is written beside it, with the
    paths (``OUT.recipe.yaml``). The result of an earlier run is replaced; any other folder must be empty.

    Args:
        recipe: its file, or the recipe itself.
        as_edit: write only the edit, to the file ``out``; for recipes that describe one.
        resume: resume from the checkpoint of an interrupted run.
        progress: show a bar on a terminal.

    Returns:
        What ``mnemotomy.json`` says: the recipe and its hash, fingerprints before and after, counts, what guards saw,
        versions, seconds.

    Raises:
        MnemotomyError: recipe, data, model or folder are not valid, or a guard speaks against the edit and the recipe
            is not forced; nothing is written.
        OSError: ``out`` cannot be written to.
    """
    loaded, out = recipe if isinstance(recipe, RecipeFile) else load_recipe(recipe), Path(out)
    said = loaded.recipe
    if as_edit and isinstance(said, MethodRecipe):
        raise ConfigurationError(f"{said.method.name} gives a model, not an edit; leave out --as edit")
    if as_edit:
        check_file(out)
        check_no_input(out, loaded.inputs)
    else:
        check_replaceable(out, RECORDS, loaded.inputs)
        if loaded.path is None:
            check_beside(recipe_beside(out), out, loaded.inputs)
    clock, digests = Clock(), loaded.public_digests
    check_writable(out)
    with quiet_transformers(), trusting_code(said.trust_remote_code):
        if isinstance(said, MethodRecipe):
            return _treated(loaded, said, out, device=device, resume=resume, clock=clock)
        guards = Guards(said.force)
        with guards.watching():
            prepared = prepare_edit(loaded, said, out, device=device, resume=resume, progress=progress, clock=clock)
        _draw(guards, loaded, prepared)
        guards.read(prepared.model, prepared.tokenizer, "before")
        tied: Tied = "untie" if said.untie else "refuse"
        record = _about(loaded, prepared) | {"files": digests}
        if as_edit:
            with prepared.edit.on(prepared.model, tied=tied, check=False):
                guards.read(prepared.model, prepared.tokenizer, "after")
            guards.check()
            record["guards"] = guards.record()
            about = {name: record[name] for name in ("recipe", "recipe_hash", "files", "counts")}
            prepared.edit.save(out, about=about | {"weight_norms": weight_norms(prepared)}, progress=progress)
            clock.lap("edit")
            found = told(record, clock)
        else:
            warn_of_size(loaded.model, prepared.model)
            prepared.edit.apply_(prepared.model, tied=tied, check=False, progress=progress)
            record["model"]["fingerprint_after"] = fingerprint(prepared.model)
            check_saveable(prepared.model, record)
            guards.read(prepared.model, prepared.tokenizer, "after")
            guards.check()
            record["guards"] = guards.record()
            clock.lap("edit")
            found = told(record, clock)
            _save(prepared.model, prepared.tokenizer, out, found, loaded)
    remove_checkpoints(out)
    return found


def _save(model: Any, tokenizer: Any, out: Path, record: dict[str, Any], loaded: RecipeFile) -> None:
    save_with_record(model, tokenizer, out, record, loaded.public_from(out))
    if loaded.path is None:
        write_text(recipe_beside(out), loaded.text_from(out.parent))


def _about(loaded: RecipeFile, prepared: Prepared) -> dict[str, Any]:
    """What the record says before the model is edited."""
    model = {**source_of(loaded.model), "name": prepared.recipe.model, "class": type(prepared.model).__name__}
    return {
        "kind": "edit",
        "recipe": prepared.recipe.model_dump(mode="json") | loaded.fields_by_role,
        "recipe_hash": loaded.hash,
        "model": model | {"fingerprint_before": prepared.edit.fingerprint},
        "edit": prepared.edit.describe(),
        "sites": list(prepared.edit.sites()),
        "untied": prepared.untied,
        **earlier_requests(loaded.model),
        "counts": prepared.counts,
    }


def _draw(guards: Guards, loaded: RecipeFile, prepared: Prepared) -> None:
    """What the recipe's files say is to be forgotten and to stay; with saved moments, there are none."""
    said, tokenizer = prepared.recipe, prepared.tokenizer
    if said.moments is not None:
        guards.draw_general(tokenizer)
        return
    edited = (*said.erase, *said.inject)
    others = [name for name in loaded.files if name not in (*edited, NEIGHBOURS)]
    sets: dict[Set, Sequence[str]] = {"forget": said.erase, "retain": others}
    for name, concepts in sets.items():
        examples = [one for concept in concepts for file in loaded.files[concept] for one in read_examples(file)]
        guards.draw(name, examples, answers(tokenizer, said.template.made, said.max_length))


def _treated(
    loaded: RecipeFile, said: MethodRecipe, out: Path, *, device: str, resume: bool, clock: Clock
) -> dict[str, Any]:
    folder = checkpoint_for(out, loaded.hash)
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    problem = prepare_problem(loaded, said, device=device, clock=clock, folder=folder)
    warn_of_size(loaded.model, problem.model)
    guards = Guards(said.force)
    with guards.watching():
        model = said.method(problem)
    clock.lap("method")
    names, files = {**source_of(loaded.model), "name": said.model, "class": type(model).__name__}, loaded.public_digests
    prints = {"fingerprint_before": fingerprint(problem.model), "fingerprint_after": fingerprint(model)}
    record = {
        "kind": "method",
        "recipe": said.model_dump(mode="json") | loaded.fields_by_role,
        "recipe_hash": loaded.hash,
        "files": {**files, "retain": files["retain"] | dict.fromkeys(said.written)},
        "model": names | prints,
        **about_method(said, problem),
        "training": losses_in(folder),
        **earlier_requests(loaded.model),
    }
    check_saveable(model, record)
    sets: dict[Set, Sequence[TextExample]] = {"forget": problem.forget, "retain": problem.retain}
    for name, examples in sets.items():
        guards.draw(name, examples, partial(sequences, problem))
    guards.read(problem.model, problem.tokenizer, "before")
    guards.read(model, problem.tokenizer, "after")
    guards.check()
    record["guards"] = guards.record()
    found = told(record, clock)
    _save(model, problem.tokenizer, out, found, loaded)
    remove_checkpoints(out)
    return found
