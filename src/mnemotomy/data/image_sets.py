"""Sets of labelled images from whatever holds them: tensors, batches, folders, parquet files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnemotomy.core.errors import ConceptError, DataError
from mnemotomy.data.examples import Examples
from mnemotomy.data.images import Picture, drawn, list_images, prepared

MOST = 5000
"""Images to read of all sets together."""

_NUMBERS = 2**29  # of all inputs: 2 GiB in float32
_LEAST = 250  # of a set that has as many

Source = Examples | str | Path | Sequence[Picture] | tuple[Tensor, Tensor] | Iterable[Any]
"""``Examples``, a pair of tensors, batches of such pairs, pictures, or a folder or file for ``list_images``."""


def image_sets(
    sources: Mapping[str, Source | None], names: Sequence[str], processor: Any, channels: int, seed: int
) -> dict[str, Examples]:
    """Every set that is given, as examples; if there are more than ``MOST`` images, so many are drawn, in proportion.

    Args:
        sources: by name.
        processor: prepares images in files; None where all are tensors.

    Raises:
        DataError: images in files came without a processor, a file or label is not valid, or shapes differ.
        ConceptError: a set is empty.
    """
    found: dict[str, Examples | list[Picture]] = {}
    for name, source in sources.items():
        if source is None:
            continue
        found[name] = _listed(source, names, name)
        if not len(found[name]):
            raise ConceptError(f"the {name} set is empty; give it images")
    if processor is None and any(isinstance(one, list) for one in found.values()):
        raise DataError("images in files need the model's image processor; give it as the argument after the model")
    first = next(iter(found.values()))
    one = prepared(first[:1], processor, channels) if isinstance(first, list) else first[:1]
    share = min(1.0, most_images(one) / sum(map(len, found.values())))
    sets = {}
    for name, some in found.items():
        count = min(len(some), max(_LEAST, round(share * len(some))))
        if isinstance(some, list):
            sets[name] = prepared(drawn(some, count, seed), processor, channels)
        else:
            sets[name] = some if count == len(some) else some.drawn(count, seed)
    shapes = {tuple(some.inputs.shape[1:]) for some in sets.values()}
    if len(shapes) > 1:
        raise DataError(f"the sets' images have different shapes, {' and '.join(map(str, shapes))}; resize them")
    return sets


def most_images(like: Examples) -> int:
    """The most images of this shape to read of all sets together."""
    return max(1, min(MOST, _NUMBERS // max(1, like.inputs[0].numel())))


def check_labels(examples: Examples, count: int, name: str) -> None:
    """Refuse labels that the model does not have.

    Raises:
        DataError: it names one.
    """
    low, high = int(examples.labels.min()), int(examples.labels.max())
    if low < 0 or high >= count:
        wrong = low if low < 0 else high
        raise DataError(f"the {name} set has the label {wrong}, but the model has the classes 0 to {count - 1}")


def apart_from(examples: Examples, forgotten: Examples) -> Examples:
    """The images of other classes.

    Raises:
        DataError: there are none.
    """
    other = torch.nonzero(~torch.isin(examples.labels, forgotten.labels.unique()))[:, 0]
    if not len(other):
        raise DataError("the retain set has no images of other classes than those to forget; give some")
    return examples[other]


def _listed(source: Source, names: Sequence[str], name: str) -> Examples | list[Picture]:
    if isinstance(source, Examples):
        return source
    if isinstance(source, str | Path):
        return list_images(source, names)
    if isinstance(source, tuple) and len(source) == 2 and all(isinstance(one, Tensor) for one in source):
        return Examples(*source)
    parts = list(source)
    if parts and isinstance(parts[0], Picture):
        return parts
    pairs = [_pair(part, name) for part in parts]
    if not pairs:
        return []
    return Examples(torch.cat([one for one, _ in pairs]), torch.cat([one for _, one in pairs]))


def _pair(batch: Any, name: str) -> tuple[Tensor, Tensor]:
    if isinstance(batch, Mapping) and {"pixel_values", "labels"} <= batch.keys():
        batch = (batch["pixel_values"], batch["labels"])
    if not (isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(one, Tensor) for one in batch)):
        raise DataError(
            f"the {name} set: a batch is a pair of tensors, images and labels, or a dict with pixel_values and labels, "
            f"not {type(batch).__name__}"
        )
    return batch[0], batch[1]
