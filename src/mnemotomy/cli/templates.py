"""What stands around questions and answers, from options of the command line."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import typer

from mnemotomy.errors import DataError

SYSTEM = typer.Option(help="The system message of a chat template; empty for none. OpenUnlearning's by default.")
DATE = typer.Option(help="What a chat template writes as today's date. OpenUnlearning's by default.")


def say_how_questions_are_asked(tokenizer: Any, name: str) -> None:
    """Warn where there is no chat template: scores depend on what stands around questions."""
    from mnemotomy.observe.answer_tokens import has_chat_template

    if not has_chat_template(tokenizer):
        warnings.warn(
            f"the tokenizer of {name} has no chat template; questions are asked as 'Question: … Answer: …'",
            stacklevel=2,
        )


def template_for(tokenizer: Any, name: str, system: str | None, date: str | None) -> Any:
    """OpenUnlearning's template with what the options change in it.

    Raises:
        DataError: an option belongs to a chat template, which the tokenizer lacks.
    """
    from mnemotomy.observe.answer_tokens import OPEN_UNLEARNING, has_chat_template

    changes: dict[str, Any] = {}
    if system is not None:
        changes["system"] = system or None
    if date is not None:
        changes["date"] = date or None
    if changes and not has_chat_template(tokenizer):
        options = " and ".join(f"--{option}" for option in changes)
        raise DataError(
            f"the tokenizer of {name} has no chat template, where {options} would stand; leave it out: questions are "
            "then asked as 'Question: … Answer: …'"
        )
    say_how_questions_are_asked(tokenizer, name)
    return replace(OPEN_UNLEARNING, **changes)
