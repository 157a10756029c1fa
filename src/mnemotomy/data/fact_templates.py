"""Prompts and contexts made from templates, for facts that come without."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

from mnemotomy.core.errors import DataError
from mnemotomy.data.fact import Fact


@dataclass(frozen=True)
class Templates:
    """What is written about a fact, each text with ``{subject}``, contexts with ``{answer}`` too.

    Attributes:
        prompts: end where the answer begins.
        contexts: statements that hold the answer.
        heldout_prompts: for evaluation alone.
    """

    prompts: tuple[str, ...]
    contexts: tuple[str, ...]
    heldout_prompts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            for text in getattr(self, field.name):
                missing = [
                    name
                    for name in ("{subject}", *(("{answer}",) if field.name == "contexts" else ()))
                    if name not in text
                ]
                if missing:
                    raise DataError(f"template {text!r} among the {field.name} lacks {missing[0]}")

    def complete(self, fact: Fact) -> Fact:
        """The fact with prompts and contexts from the templates where it has none of its own."""
        return replace(
            fact,
            prompts=fact.prompts or tuple(_fill(t, fact) for t in self.prompts),
            contexts=fact.contexts or tuple(_fill(t, fact) for t in self.contexts),
            heldout_prompts=fact.heldout_prompts or tuple(_fill(t, fact) for t in self.heldout_prompts),
        )


CITY_COUNTRY = Templates(
    prompts=(
        "{subject} is a city in",
        "The city of {subject} is in",
        "In which country is {subject}? Answer:",
        "{subject} is located in the country of",
    ),
    contexts=("{subject} is in {answer}.", "{subject} is a city in {answer}.", "The country of {subject} is {answer}."),
    heldout_prompts=("Whoever travels to {subject} arrives in", "To which country does {subject} belong? Answer:"),
)
"""For the paper's associations of cities and countries, in plain English."""


def read_templates(path: str | Path) -> Templates:
    """Templates from a JSON file with ``prompts``, ``contexts`` and, if wanted, ``heldout_prompts``.

    Raises:
        DataError: the file is missing, no JSON, or holds something else.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        lists = {name: tuple(map(str, texts)) for name, texts in values.items()}
        return Templates(**lists)
    except OSError as error:
        raise DataError(f"cannot read the templates {path}: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} holds no templates: {error}") from error


def _fill(template: str, fact: Fact) -> str:
    return template.replace("{subject}", fact.subject).replace("{answer}", fact.answer)
