"""Templates of prompts and contexts, for facts without."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from mnemotomy.core.errors import DataError
from mnemotomy.core.files import check_input
from mnemotomy.core.json_text import read_json
from mnemotomy.data.fact import Fact


@dataclass(frozen=True)
class Templates:
    """Texts with ``{subject}``; contexts also have ``{answer}``.

    Attributes:
        prompts: end where the answer begins.
        contexts: statements that contain the answer.
        heldout_prompts: only for evaluation.
    """

    prompts: tuple[str, ...]
    contexts: tuple[str, ...]
    heldout_prompts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            needed = ("{subject}", "{answer}") if field.name == "contexts" else ("{subject}",)
            for text in getattr(self, field.name):
                for name in needed:
                    if name not in text:
                        raise DataError(f"template {text!r} among the {field.name} lacks {name}")

    def complete(self, fact: Fact) -> Fact:
        """The fact, with prompts and contexts from the templates if it has none."""
        return replace(
            fact,
            prompts=fact.prompts or _filled(self.prompts, fact),
            contexts=fact.contexts or _filled(self.contexts, fact),
            heldout_prompts=fact.heldout_prompts or _filled(self.heldout_prompts, fact),
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
"""For the paper's associations of cities and countries."""


def read_templates(path: str | Path) -> Templates:
    """Templates from a JSON file with ``prompts``, ``contexts`` and optionally ``heldout_prompts``.

    Raises:
        DataError: the file is missing, is not valid JSON, or contains something else.
    """
    check_input(path)
    try:
        values = read_json(Path(path).read_text(encoding="utf-8"))
        lists = {name: tuple(map(str, texts)) for name, texts in values.items()}
        return Templates(**lists)
    except OSError as error:
        raise DataError(f"cannot read the templates {path}: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} contains no templates: {error}") from error


def _filled(templates: tuple[str, ...], fact: Fact) -> tuple[str, ...]:
    return tuple(one.replace("{subject}", fact.subject).replace("{answer}", fact.answer) for one in templates)
