"""``mnemotomy apply``: run a recipe."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from mnemotomy.cli.options import Device, Force, Resume, TrustCode
from mnemotomy.cli.outcome import one_line_errors, say


class Result(enum.StrEnum):
    """What to write."""

    MODEL = "model"
    EDIT = "edit"


@one_line_errors()
def apply(
    recipe: Annotated[Path, typer.Argument(help="A YAML file.")],
    out: Annotated[Path, typer.Argument(help="The folder to write; the result of an earlier run is replaced.")],
    as_: Annotated[
        Result, typer.Option("--as", help="model, or edit: only the edit, as a file for 'mnemotomy edit'.")
    ] = Result.MODEL,
    device: Device = "cpu",
    trust_remote_code: TrustCode = False,
    force: Force = False,
    resume: Resume = True,
) -> None:
    """Edit a model, or run an unlearning method, as a recipe says.

    from_pretrained loads the folder. It also contains a model card, the recipe, and mnemotomy.json with hashes, counts
    and versions, but no name or path of a set's file.

    \b
    Example:
      mnemotomy apply recipe.yaml edited-model
      mnemotomy apply recipe.yaml edit.safetensors --as edit
    \b
    where recipe.yaml says (paths are relative to its folder):
      model: Qwen/Qwen3-0.6B
      concepts:
        alice: alice.jsonl
        bob: bob.jsonl
      reference: rest.jsonl
      erase: [alice]                           # default: all concepts
      sites: all-linear                        # default; the paper edits [all-linear, output-head]
      positions: answer                        # default; or predicting, or all
      template: {tags: true}                   # for questions, if the tokenizer has no chat template
      cut: {kind: relative, ratio: 1e-6}       # default
      filter: {kind: hard, threshold: 0.5}     # default: soft
      outputs: true                            # default: false; edit only what writes the concept
      strength: 1.0                            # default; or weight-norm, effective-rank, or a number per site
    \b
    'moments: FILE', a file from 'mnemotomy collect', replaces concepts and reference. A recipe for a method says:
      model: Qwen/Qwen3-0.6B
      method: {name: npo, epochs: 5}           # see 'mnemotomy methods'
      forget: forget.jsonl
      retain: retain.jsonl                     # or self:2000, 2000 texts that the model itself writes
    """
    from mnemotomy.recipe import load_recipe, run_recipe

    loaded = load_recipe(recipe)
    record = run_recipe(
        loaded.forced() if force else loaded, out, as_edit=as_ is Result.EDIT, device=device, resume=resume
    )
    report(out, record)


def report(out: Path, record: dict[str, Any]) -> None:
    """Print what a recipe did."""
    if record["kind"] == "method":
        examples = record["counts"]["examples"]
        title = record["method"]["title"]
        say(f"{title}: {examples['forget']} examples to forget, {examples['retain']} to retain")
    if losses := record.get("training"):
        first, last = losses["first_loss"], losses["last_loss"]
        say(f"{losses['steps']} steps, mean loss {first:.4g} in the first epoch and {last:.4g} in the last")
    for verb, done in (("erase", "erased"), ("inject", "injected")):
        if record["recipe"].get(verb):
            say(f"{done} {', '.join(record['recipe'][verb])} at {len(record['sites'])} sites")
    say(f"{out}: saved in {sum(record['seconds'].values()):.1f} s, recipe {record['recipe_hash'][:12]}")
