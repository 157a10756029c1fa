"""``mnemotomy unlearn``: run one of the methods on your own data."""

from __future__ import annotations

import enum
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mnemotomy.cli.apply import report
from mnemotomy.cli.options import LARGEST_SEED, Device, Force, Model, OutDir, Resume, TrustCode, settings
from mnemotomy.cli.outcome import one_line_errors
from mnemotomy.cli.templates import USUAL, with_template
from mnemotomy.text.template import TemplateSettings


class EndTokenName(enum.StrEnum):
    """The choices of --end-token."""

    AUTO = "auto"
    TRUE = "true"
    FALSE = "false"


@one_line_errors()
@with_template
def unlearn(
    model: Model,
    out_dir: OutDir,
    method: Annotated[str, typer.Option(help="Its name; see 'mnemotomy methods'.")],
    forget: Annotated[list[Path], typer.Option(metavar="FILE", help="The forget set; may be repeated.")],
    retain: Annotated[
        list[str],
        typer.Option(metavar="FILE|self:N", help="The retain set, or N texts that MODEL writes; may be repeated."),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting, as epochs=5 or 'lora={rank: 8}'; may be repeated."),
    ] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="The model before it learned the forget set, for methods that need it.")
    ] = None,
    opening: Annotated[
        str, typer.Option(help="How self:N texts begin: question, or answer if the model writes no questions.")
    ] = "question",
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="For everything that the method draws at random.")
    ] = 0,
    end_token: Annotated[
        EndTokenName, typer.Option(help="Whether the end token is part of an answer; auto: if MODEL expects it there.")
    ] = EndTokenName.AUTO,
    template: TemplateSettings = USUAL,
    device: Device = "cpu",
    trust_remote_code: TrustCode = False,
    force: Force = False,
    resume: Resume = True,
) -> None:
    """Forget by one method of your choice, as in a paper.

    'mnemotomy forget' chooses among edits by itself; this runs the method that you name, to compare or repeat it.
    The files are JSON Lines with 'text', with 'question' and 'answer' (as TOFU's), or with 'messages'. from_pretrained
    loads the folder; README.md says what was done, without the names of your files. 'mnemotomy apply' repeats it from
    OUT_DIR.recipe.yaml, beside it.

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
        "end_token": {"true": True, "false": False}.get(end_token.value, end_token.value),
        "template": asdict(template),
    }
    if pretrained is not None:
        fields["pretrained"] = pretrained
    if trust_remote_code:
        fields["trust_remote_code"] = True
    if force:
        fields["force"] = True
    report(out_dir, run_recipe(made_recipe(fields), out_dir, device=device, resume=resume))
