"""The images that networks are trained and tested on."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from mnemotomy.data.examples import Examples
from mnemotomy_bench.vision.images import DIGITS, data_folder, load_images, state_of


def load_examples(data: str, split: str, folder: Path | None) -> tuple[Examples, tuple[str, ...]]:
    """The images of one split, pixels from 0 to 1, and the names of the classes; shared between calls.

    Raises:
        DataError: the data is missing or damaged.
    """
    found = source(data, folder)
    return _examples(found, split, state_of(found, split))


@functools.lru_cache(maxsize=4)
def _examples(found: str | Path, split: str, state: object) -> tuple[Examples, tuple[str, ...]]:
    images = load_images(found, split)
    return Examples(images.inputs.float() / 255, images.labels), images.class_names


def source(data: str, folder: Path | None) -> str | Path:
    """``digits``, or the folder of a data set in ``folder`` (by default ``MNEMOTOMY_DATA``)."""
    if data == DIGITS:
        return DIGITS
    return folder / data if folder else data_folder(data)


def some(examples: Examples, count: int | None) -> Examples:
    """At most ``count`` examples, drawn at random but always the same; all if it is None."""
    if count is None or count >= len(examples):
        return examples
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0))[:count]
    return examples[order.to(examples.labels.device)]
