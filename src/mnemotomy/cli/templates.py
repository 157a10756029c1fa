"""What stands around questions and answers, as options that several commands share."""

from __future__ import annotations

import typer

SYSTEM = typer.Option(help="The system message of a chat template; empty for none. OpenUnlearning's by default.")
DATE = typer.Option(help="What a chat template writes as today's date. OpenUnlearning's by default.")
TAGS = typer.Option("--tags", help="Ask as 'Question: … Answer: …': for tokenizers without a chat template.")
