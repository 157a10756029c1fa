"""What stands around questions and answers, as options that several commands share."""

from __future__ import annotations

from typing import Any

import typer

SYSTEM = typer.Option(help="The system message of a chat template; empty for none. OpenUnlearning's by default.")
DATE = typer.Option(help="What a chat template writes as today's date. OpenUnlearning's by default.")
TAGS = typer.Option("--tags", help="Ask as 'Question: … Answer: …': for tokenizers without a chat template.")


def template_settings(system: str | None, date: str | None) -> dict[str, Any]:
    """What the options change in OpenUnlearning's template; an empty one is for none."""
    given = {"system": system, "date": date}
    return {name: value or None for name, value in given.items() if value is not None}
