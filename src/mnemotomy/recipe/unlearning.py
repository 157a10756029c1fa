"""The method that a recipe describes, with its forget set and its retain set."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mnemotomy.core.clock import Clock
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.fingerprints import tokenizer_digest
from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.methods.language.loop import LOG
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.language.self_reference import write_reference
from mnemotomy.recipe.collecting import check_once
from mnemotomy.recipe.file import RecipeFile
from mnemotomy.recipe.schema import MethodRecipe
from mnemotomy.text.records import read_examples
from mnemotomy.text.template import OPEN_UNLEARNING, check_template

_ENDS = {"first_loss": 0, "last_loss": -1}


def prepare_problem(
    loaded: RecipeFile, recipe: MethodRecipe, *, device: str, clock: Clock, folder: Path | None = None
) -> TextProblem:
    """What the method is given, including any texts that the model itself writes; ``folder`` is for checkpoints.

    Raises:
        MnemotomyError: the recipe, its files or its models are not valid.
    """
    check_once(loaded.files)
    forget, retain = (
        [one for file in loaded.files[name] for one in read_examples(file)] for name in ("forget", "retain")
    )
    tokenizer = load_tokenizer(loaded.model)
    tags, template = recipe.template.tags, recipe.template.made
    asked = recipe.written or any(one.form == "question" for one in [*forget, *retain])
    if asked or tags or template != OPEN_UNLEARNING:
        check_template(tokenizer, loaded.model, tags, template)
    model = load_model(loaded.model, dtype=recipe.dtype, device=device)
    pretrained = None
    if loaded.other_model is not None:
        if tokenizer_digest(load_tokenizer(loaded.other_model)) != tokenizer_digest(tokenizer):
            raise ConfigurationError(
                f"the tokenizers of {loaded.model} and {loaded.other_model} differ; give the model before it learned"
            )
        pretrained = load_model(loaded.other_model, dtype=recipe.dtype, device=device)
    clock.lap("load")
    for how in recipe.written.values():
        retain += write_reference(model, tokenizer, how, template)
    if recipe.written:
        clock.lap("write")
    return TextProblem(model, tokenizer, forget, retain, template, pretrained, recipe.seed, folder, recipe.end_token)


def losses_in(folder: Path) -> dict[str, Any] | None:
    """How many steps the log of a gradient method has, and the mean loss of the first and the last epoch."""
    if not (folder / LOG).is_file():
        return None
    steps = [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]
    ends = {name: [one["total"] for one in steps if one["epoch"] == steps[at]["epoch"]] for name, at in _ENDS.items()}
    return {"steps": len(steps), **{name: sum(losses) / len(losses) for name, losses in ends.items()}}


def about_method(recipe: MethodRecipe, problem: TextProblem) -> dict[str, Any]:
    """What a record says about the method, besides the recipe."""
    method = recipe.method
    return {
        "method": {"name": method.name, "title": method.title, "paper": method.paper, "family": method.family},
        "counts": {"examples": {"forget": len(problem.forget), "retain": len(problem.retain)}},
        "max_length": problem.max_length,
        "end_token": problem.ending.describe(),
        "written": {name: asdict(how) for name, how in recipe.written.items()},
    }
