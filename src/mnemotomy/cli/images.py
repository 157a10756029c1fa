"""What commands do where MODEL is an image classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnemotomy.cli.outcome import say
from mnemotomy.core.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from torch import nn

    from mnemotomy.data.images import Picture


def check_no_text_options(given: Mapping[str, Any], model: str) -> None:
    """Refuse options that say something about texts.

    Raises:
        ConfigurationError: one is given.
    """
    for name, value in given.items():
        if value:
            raise ConfigurationError(f"{name} is for language models, and {model} is an image classifier; leave it out")


def pictures(model: nn.Module, sources: Sequence[Path]) -> list[Picture]:
    """The images of folders and files, by the model's classes."""
    from mnemotomy.core.image_models import class_names
    from mnemotomy.data.images import list_images

    return [one for source in sources for one in list_images(source, class_names(model))]


def without(kept: Sequence[Picture], others: Sequence[Picture], option: str) -> list[Picture]:
    """The retain set without the images of another set, which may lie in the same folder."""

    def content(one: Picture) -> bytes | Path:
        return one.content if isinstance(one.content, bytes) else one.content.resolve()

    own = set(map(content, others))
    left = [one for one in kept if content(one) not in own]
    if len(left) < len(kept):
        say(f"{len(kept) - len(left)} images of --retain are those of {option} and are not retained", err=True)
    return left


def pictures_to_forget(
    model: nn.Module, forget: Sequence[Path] | None, labels: Sequence[str] | None, retain: Sequence[Path]
) -> tuple[list[Picture], list[Picture]]:
    """The forget set, from its own folders or by class from the retain set's, and the retain set.

    Raises:
        DataError: the model has no such class, or the retain set no image of it, or of another.
    """
    from mnemotomy.core.image_models import class_names
    from mnemotomy.data.images import class_number

    kept = pictures(model, retain)
    if not labels:
        forgotten = pictures(model, forget or [])
        return forgotten, without(kept, forgotten, "--forget")
    numbers = {class_number(label, class_names(model), "--forget-label") for label in labels}
    forgotten, others = ([one for one in kept if (one.label in numbers) == own] for own in (True, False))
    if not forgotten or not others:
        what = f"of {', '.join(labels)}" if not forgotten else "of other classes"
        raise DataError(f"--retain has no images {what}; give folders or files that have them")
    return forgotten, others
