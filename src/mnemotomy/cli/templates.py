"""The options for what stands around questions and answers."""

from __future__ import annotations

import typer

SYSTEM = typer.Option(help="The chat template's system message, '' for none; default: OpenUnlearning's.")
DATE = typer.Option(help="Today's date in a chat template, '' for none; default: OpenUnlearning's.")
TAGS = typer.Option("--tags", help="Ask as 'Question: … Answer: …'; for tokenizers without a chat template.")
PLAIN = typer.Option("--plain", help="Ask with the question alone, which the answer continues; no chat template.")
