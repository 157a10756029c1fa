"""``mnemotomy unlearn``: one of the published methods, or ours, on the user's own data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mnemotomy.cli.apply import report
from mnemotomy.cli.options import LARGEST_SEED, settings
from mnemotomy.cli.outcome import one_line_errors
from mnemotomy.cli.templates import DATE, SYSTEM, TAGS


@one_line_errors()
def unlearn(
    model: Annotated[str, typer.Argument(help="A local folder or a hub id.")],
    out_dir: Annotated[Path, typer.Argument(help="The folder to write; one that an earlier run wrote is replaced.")],
    method: Annotated[str, typer.Option(help="Its name, as 'mnemotomy methods' lists it.")],
    forget: Annotated[list[Path], typer.Option(metavar="FILE", help="A concept file; may be repeated.")],
    retain: Annotated[
        list[str],
        typer.Option(metavar="FILE|self:N", help="A concept file, or N texts of the model's own; may be repeated."),
    ],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the method; may be repeated.")
    ] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="The model before it learned what is to be forgotten, for methods that need it.")
    ] = None,
    opening: Annotated[
        str, typer.Option(help="Of the model's own texts: question, or answer for models that write no questions.")
    ] = "question",
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of whatever the method draws at random.")] = 0,
    system: Annotated[str | None, SYSTEM] = None,
    date: Annotated[str | None, DATE] = None,
    tags: Annotated[bool, TAGS] = False,
    device: Annotated[str, typer.Option(help="As cpu, cuda or cuda:1.")] = "cpu",
) -> None:
    """Make a language model forget what is in one file and keep what is in another.

    The files are JSON Lines as everywhere: 'text', 'question' with 'answer', or 'messages'; TOFU's are such. The
    folder loads with from_pretrained; its README.md says what was done, and its recipe.yaml is what 'mnemotomy apply'
    runs to do it again.

    \b
    Example:
      mnemotomy unlearn full --method npo --forget forget.jsonl --retain retain.jsonl unlearned --set epochs=5
      mnemotomy unlearn full --method engram-projector --forget forget.jsonl --retain self:2000 unlearned
    """
    from mnemotomy.recipe import made_recipe, run_recipe

    fields: dict[str, Any] = {
        "model": model,
        "method": {"name": method, **settings(set_ or [])},
        "forget": [str(file) for file in forget],
        "retain": retain,
        "opening": opening,
        "seed": seed,
        "template": {"system": system, "date": date, "tags": tags},
    }
    if pretrained is not None:
        fields["pretrained"] = pretrained
    report(out_dir, run_recipe(made_recipe(fields), out_dir, device=device))
