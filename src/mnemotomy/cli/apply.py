"""``mnemotomy apply``: carry out a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnemotomy.cli.outcome import one_line_errors


@one_line_errors()
def apply(
    recipe: Annotated[Path, typer.Argument(help="A YAML file.")],
    out_dir: Annotated[Path, typer.Argument(help="The folder to write; one that an earlier run wrote is replaced.")],
    device: Annotated[str, typer.Option(help="Where to compute, as in cuda or cuda:1.")] = "cpu",
    resume: Annotated[bool, typer.Option(help="Go on from where an interrupted run of the same stopped.")] = True,
) -> None:
    """Edit a model as a recipe says, and save a folder that from_pretrained loads.

    The folder also holds a model card, the recipe, and mnemotomy.json with the hash, the counts and the versions.

    \b
    Example:
      mnemotomy apply recipe.yaml edited-model
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
    """
    from mnemotomy.recipe import run_recipe

    record = run_recipe(recipe, out_dir, device=device, resume=resume)
    for verb, done in (("erase", "erased"), ("inject", "injected")):
        if record["recipe"][verb]:
            typer.echo(f"{done} {', '.join(record['recipe'][verb])} at {len(record['sites'])} sites")
    typer.echo(f"{out_dir}: saved in {sum(record['seconds'].values()):.1f} s, recipe {record['recipe_hash'][:12]}")
