"""What to do after ``mnemotomy forget``: ask both models, and audit, as commands that can be pasted."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnemotomy.forget.found import Found


def next_steps(found: Found, tokenizer: Any, source: str, out: Path, report: Path, forget: list[str]) -> Iterator[str]:
    """Lines to print once a result is saved.

    Args:
        found: by the search.
        tokenizer: the model's.
        source, out: the model before, and the folder or the file of the edit.
        report: a folder for the audit's.
        forget: the files of the forget set; an audit takes one.
    """
    from mnemotomy.core.modules import device_of
    from mnemotomy.forget.scores import IMAGES
    from mnemotomy.recipe.forgotten import kept_apart_beside

    yield "next:"
    device = str(device_of(found.request.model))
    on = [] if device == "cpu" else ["--device", device]
    if found.request.words is IMAGES:
        one = forget[0] if len(forget) == 1 else "IMAGES"
        yield f"  {_command('audit', source, out, report, '--forget', one, '--retain', 'OTHERS', *on)}"
        named = "IMAGES is a folder of what was forgotten, " if one == "IMAGES" else ""
        yield (
            f"{named}OTHERS is a folder of other classes, best with images that forget has not read; for a deletion "
            "request, add --holdout FOLDER: images of the forgotten class that the model was not trained on"
        )
        return
    how = [*_template(found.options.template, tokenizer), *on]
    beside = "--beside" if out.is_dir() else "--edit"
    yield f"  {_command('chat', source, beside, out, *how)}"
    kept = kept_apart_beside(out)
    one = forget[0] if len(forget) == 1 else "FORGET"
    yield f"  {_command('audit', source, out, report, '--forget', one, '--retain', kept, *how)}"
    if len(forget) != 1:
        yield "FORGET is one file with all the lines to forget: join yours"
    count = len(found.request.checks)
    yield (
        f"{kept} has the {count} retained line{'s' if count > 1 else ''} that the edit was not made from; lines that "
        "forget has not read at all are a better --retain"
    )
    yield (
        "for a deletion request, add --holdout FILE: the lines to forget with other names and facts, which the model "
        "does not know"
    )


def _command(name: str, *words: Any) -> str:
    return shlex.join(["mnemotomy", name, *map(str, words)])


def _template(template: Any, tokenizer: Any) -> list[str]:
    """The options that give a command this template."""
    from mnemotomy.text.template import TemplateSettings, has_chat_template

    settings = TemplateSettings.of(template, tags=not template.plain and not has_chat_template(tokenizer))
    given = {"--system": settings.system, "--date": settings.date}
    words = [word for name, value in given.items() if value is not None for word in (name, value)]
    return [*words, *(["--tags"] if settings.tags else []), *(["--plain"] if settings.plain else [])]
