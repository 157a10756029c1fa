"""``mnemotomy apply``: carry out a recipe."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from mnemotomy.cli.outcome import one_line_errors


class Result(enum.StrEnum):
    """What is written."""

    MODEL = "model"
    EDIT = "edit"


@one_line_errors()
def apply(
    recipe: Annotated[Path, typer.Argument(help="A YAML file.")],
    out: Annotated[Path, typer.Argument(help="The folder to write; one that an earlier run wrote is replaced.")],
    as_: Annotated[
        Result, typer.Option("--as", help="model, or edit for a file with the edit alone, for 'mnemotomy edit'.")
    ] = Result.MODEL,
    device: Annotated[str, typer.Option(help="Where to compute, as in cuda or cuda:1.")] = "cpu",
    resume: Annotated[bool, typer.Option(help="Go on from where an interrupted run of the same stopped.")] = True,
) -> None:
    """Edit a model, or have a method make it forget, as a recipe says; save a folder that from_pretrained loads.

    The folder also holds a model card, the recipe, and mnemotomy.json with the hash, the counts and the versions.

    \b
    Example:
      mnemotomy apply recipe.yaml edited-model
      mnemotomy apply recipe.yaml edit.safetensors --as edit
    \b
    where recipe.yaml says, with paths that start from its own folder:
      model: Qwen/Qwen3-0.6B
      concepts:
        alice: alice.jsonl
        bob: bob.jsonl
      reference: rest.jsonl
      erase: [alice]                           # default: all the concepts
      sites: all-linear                        # default; [all-linear, output-head] is what the paper edits
      positions: answer                        # default; or predicting, all
      template: {tags: true}                   # for questions where the tokenizer has no chat template
      cut: {kind: relative, ratio: 1e-6}       # default
      filter: {kind: hard, threshold: 0.5}     # default: soft
      outputs: true                            # default: false; spare what does not write the concept
      strength: 1.0                            # default; or weight-norm, effective-rank, a number for each site
    \b
    In place of concepts and reference, moments: FILE names what 'mnemotomy collect' wrote. In place of all of an edit:
      method: {name: npo, epochs: 5}           # as 'mnemotomy methods' lists them
      forget: forget.jsonl
      retain: retain.jsonl                     # or self:2000, texts that the model itself writes
    """
    from mnemotomy.recipe import run_recipe

    record = run_recipe(recipe, out, as_edit=as_ is Result.EDIT, device=device, resume=resume)
    report(out, record)


def report(out: Path, record: dict[str, Any]) -> None:
    """Print what a recipe has done."""
    if record["kind"] == "method":
        examples = record["counts"]["examples"]
        title = record["method"]["title"]
        typer.echo(f"{title} forgot {examples['forget']} examples and was given {examples['retain']} to keep")
    for verb, done in (("erase", "erased"), ("inject", "injected")):
        if record["recipe"].get(verb):
            typer.echo(f"{done} {', '.join(record['recipe'][verb])} at {len(record['sites'])} sites")
    typer.echo(f"{out}: saved in {sum(record['seconds'].values()):.1f} s, recipe {record['recipe_hash'][:12]}")
