"""The options for what stands around questions and answers."""

from __future__ import annotations

from typing import Annotated

import typer

from mnemotomy.cli.options import with_options
from mnemotomy.text.template import TemplateSettings

Tags = Annotated[
    bool, typer.Option("--tags", help="Ask as 'Question: … Answer: …'; for tokenizers without a chat template.")
]
USUAL = TemplateSettings()


def _settings(
    system: Annotated[
        str | None,
        typer.Option(help="The chat template's system message, '' for none; default: 'You are a helpful assistant.'"),
    ] = None,
    date: Annotated[
        str | None, typer.Option(help="Today's date in a chat template, '' for none; default: OpenUnlearning's.")
    ] = None,
    tags: Tags = False,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Ask with the question alone, which the answer continues; no chat template."),
    ] = False,
) -> TemplateSettings:
    return TemplateSettings(system, date, tags, plain)


with_template = with_options(_settings, "template")
"""Gives a command these four options in place of its parameter ``template``, which gets the settings."""
