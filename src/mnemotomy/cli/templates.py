"""What stands around questions and answers, from options of the command line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import typer

from mnemotomy.core.errors import DataError

SYSTEM = typer.Option(help="The system message of a chat template; empty for none. OpenUnlearning's by default.")
DATE = typer.Option(help="What a chat template writes as today's date. OpenUnlearning's by default.")
TAGS = typer.Option("--tags", help="Ask as 'Question: … Answer: …': for tokenizers without a chat template.")


def check_template(tokenizer: Any, name: str, tags: bool) -> None:
    """Refuse to choose in silence what stands around questions: scores depend on it.

    Raises:
        DataError: the tokenizer has no chat template and tags were not asked for, or it has one and they were.
    """
    from mnemotomy.text.answers import has_chat_template

    if not has_chat_template(tokenizer) and not tags:
        raise DataError(
            f"the tokenizer of {name} has no chat template; give --tags to ask as 'Question: … Answer: …', or set one"
        )
    if has_chat_template(tokenizer) and tags:
        raise DataError(f"--tags is for tokenizers without a chat template, and that of {name} has one; leave it out")


def template_for(tokenizer: Any, name: str, system: str | None, date: str | None) -> Any:
    """OpenUnlearning's template with what the options change in it.

    Raises:
        DataError: an option belongs to a chat template, which the tokenizer lacks.
    """
    from mnemotomy.text.answers import OPEN_UNLEARNING, has_chat_template

    changes: dict[str, Any] = {}
    if system is not None:
        changes["system"] = system or None
    if date is not None:
        changes["date"] = date or None
    if changes and not has_chat_template(tokenizer):
        options = " and ".join(f"--{option}" for option in changes)
        raise DataError(
            f"the tokenizer of {name} has no chat template, where {options} would stand; leave it out, and give --tags "
            "to ask as 'Question: … Answer: …'"
        )
    return replace(OPEN_UNLEARNING, **changes)
