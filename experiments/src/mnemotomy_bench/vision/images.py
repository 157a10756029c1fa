"""Labelled images as one tensor: from a hub id, a folder of parquet files, or scikit-learn's digits."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from mnemotomy.core.errors import DataError
from mnemotomy.core.fingerprints import digest
from mnemotomy.data.digits import load_digits
from mnemotomy_bench.vision.image_files import find_image_column, find_label_column, open_rows, split_files
from mnemotomy_bench.vision.pixels import decoded_images

DIGITS = "digits"
VARIABLE = "MNEMOTOMY_DATA"
_MOST_CLASSES = 100_000  # of labels without names; more are not classes but perhaps row numbers


@dataclass(frozen=True)
class Images:
    """Images with a class each, or with several attributes each.

    Attributes:
        inputs: 0 to 255. Shared between calls of `load_images`: do not modify.
        labels: the class of each image, or its attributes.
        class_names: of the classes, or of the attributes.
    """

    inputs: UInt8[Tensor, "n c h w"]
    labels: Int[Tensor, " n"] | Bool[Tensor, "n k"]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.inputs)

    def normalised(self, mean: Sequence[float], std: Sequence[float]) -> Float[Tensor, "n c h w"]:
        """``(inputs / 255 − mean) / std`` per channel; what a network reads."""
        return normalise(self.inputs, mean, std)

    def digest(self) -> str:
        """SHA-256 of the pictures and the labels, with their shapes."""
        found = hashlib.sha256()
        for tensor in (self.inputs, self.labels):
            for chunk in tensor.split(256):  # where they are a view that must be copied, a chunk at a time is
                found.update(digest(chunk).encode())
        return found.hexdigest()

    def where(self, keep: Bool[Tensor, " n"] | Int[Tensor, " m"]) -> Images:
        """The images of a mask or of indices, with the names of all classes."""
        return Images(self.inputs[keep], self.labels[keep], self.class_names)

    def of_classes(self, classes: Sequence[int]) -> Images:
        """The images of these classes; a model retrained without them learns the others."""
        return self.where(torch.isin(self.labels, torch.tensor(classes)))


def normalise(
    inputs: UInt8[Tensor, "n c h w"], mean: Sequence[float], std: Sequence[float]
) -> Float[Tensor, "n c h w"]:
    """``(inputs / 255 − mean) / std``, on the inputs' device.

    Raises:
        DataError: the numbers of means, deviations and channels differ.
    """
    if not len(mean) == len(std) == inputs.shape[1]:
        raise DataError(f"{inputs.shape[1]} channels need as many means and deviations, not {len(mean)} and {len(std)}")
    scale = 1.0 / (255.0 * torch.tensor(std, device=inputs.device))
    shift = torch.tensor(mean, device=inputs.device) / torch.tensor(std, device=inputs.device)
    return inputs.float().mul_(scale[:, None, None]).sub_(shift[:, None, None])


def centres(inputs: UInt8[Tensor, "n c h w"], side: int) -> UInt8[Tensor, "n c s s"]:
    """The central square of this side of each image, as a view."""
    top, left = ((length - side) // 2 for length in inputs.shape[2:])
    return inputs[..., top : top + side, left : left + side]


def load_images(
    name_or_path: str | Path,
    split: str,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    size: int | None = None,
) -> Images:
    """Images and their classes, decoded once per process.

    Args:
        name_or_path: a folder of parquet files named by split, a hub id, or ``"digits"`` for scikit-learn's.
        split: as in `open_rows`, parts such as ``train[:1000]`` included; the digits have ``train`` and ``test``.
        image_column: by default found by type or usual name.
        label_column: likewise; ``coarse_label`` gives CIFAR-100's superclasses.
        size: side of the images in pixels: the shorter side is scaled to it, and the centre is cropped.

    Raises:
        DataError: the folder, id, split or column is not there, a file or an image is damaged, a label has no class,
            images differ in size and ``size`` is not given, or it is below 1.
    """
    _check_size(size)
    if str(name_or_path) == DIGITS:
        return _digits(split, size)
    return _labelled(name_or_path, split, image_column, label_column, size, state_of(name_or_path, split))


def load_attributes(
    name_or_path: str | Path,
    split: str,
    attributes: Sequence[str] | None = None,
    *,
    image_column: str | None = None,
    size: int | None = None,
) -> Images:
    """Images with attributes, as in CelebA: labels ``[n, k]``, true where the column is positive.

    Args:
        name_or_path: a folder of parquet files named by split, or a hub id.
        split: as in `open_rows`.
        attributes: the columns; by default every column of truth values or integers.
        image_column: as in `load_images`.
        size: as in `load_images`; CelebA's portraits are cut square and scaled.

    Raises:
        DataError: as in `load_images`.
    """
    _check_size(size)
    names = None if attributes is None else tuple(attributes)
    return _attributed(name_or_path, split, names, image_column, size, state_of(name_or_path, split))


def data_folder(name: str) -> Path:
    """The folder ``name`` (``mnist``, ``cifar10``) in the one that ``MNEMOTOMY_DATA`` names.

    Raises:
        DataError: the variable is not set, or the folder is missing.
    """
    root = os.environ.get(VARIABLE)
    if not root:
        raise DataError(f"set {VARIABLE} to the folder that holds {name}/train.parquet and {name}/test.parquet")
    folder = Path(root) / name
    if not folder.is_dir():
        raise DataError(f"there is no {folder}; set {VARIABLE} to the folder that holds {name}/train.parquet")
    return folder


@functools.lru_cache(maxsize=8)
def _labelled(
    source: str | Path, split: str, image: str | None, label: str | None, size: int | None, state: object
) -> Images:
    parts = open_rows(source, split)
    features, where = parts[0].features, str(source)
    label = find_label_column(features, label, where)
    inputs = decoded_images(parts, find_image_column(features, image, where), size, where)
    values = [value for part in parts for value in part.with_format("arrow")[:][label].to_pylist()]
    if not all(isinstance(value, int) for value in values):
        raise DataError(f"{where}: column {label!r} holds {_first_odd(values)!r}; labels must be whole numbers")
    largest = max(values)
    if largest >= _MOST_CLASSES and not getattr(features[label], "names", None):
        raise DataError(
            f"{where}: column {label!r} holds the label {largest}, but labels must count from 0; name another "
            "column with label_column=, or renumber them"
        )
    labels = torch.tensor(values, dtype=torch.long)
    names = tuple(getattr(features[label], "names", None) or map(str, range(int(labels.max()) + 1)))
    if int(labels.min()) < 0 or int(labels.max()) >= len(names):
        wrong = labels[(labels < 0) | (labels >= len(names))][0]
        raise DataError(
            f"{where}: column {label!r} holds the label {int(wrong)}; the classes are 0 to {len(names) - 1}"
        )
    return Images(inputs, labels, names)


@functools.lru_cache(maxsize=4)
def _attributed(
    source: str | Path, split: str, names: tuple[str, ...] | None, image: str | None, size: int | None, state: object
) -> Images:
    parts = open_rows(source, split)
    features, where = parts[0].features, str(source)
    names = names or tuple(name for name, feature in features.items() if _is_count(feature))
    missing = [name for name in names if name not in features or not _is_count(features[name])]
    if missing or not names:
        raise DataError(f"{where}: no column of truth values {', '.join(missing)}; the columns are {list(features)}")
    inputs = decoded_images(parts, find_image_column(features, image, where), size, where)
    tables = [part.with_format("arrow")[:] for part in parts]
    columns = [[value for table in tables for value in table[name].to_pylist()] for name in names]
    if any(value is None for column in columns for value in column):
        raise DataError(f"{where}: an attribute without a value; every row needs all of {', '.join(names)}")
    return Images(inputs, torch.tensor(columns, dtype=torch.long).T > 0, names)


def _check_size(size: int | None) -> None:
    if size is not None and size < 1:
        raise DataError(f"images cannot have {size} pixels a side; give size= as 1 or more")


def _digits(split: str, size: int | None) -> Images:
    splits = dict(zip(("train", "test"), load_digits(), strict=True))
    if split not in splits:
        raise DataError(f"the digits have no split {split!r}; choose train or test")
    inputs = splits[split].images.unflatten(1, (1, 8, 8))
    if size is not None:
        inputs = nn.functional.interpolate(inputs, size=(size, size), mode="bilinear", antialias=True)
    pixels = (inputs * 255).round().to(torch.uint8)
    return Images(pixels, splits[split].labels, tuple(map(str, range(10))))


def state_of(source: str | Path, split: str) -> object:
    """Changes when a folder's files do, so that no cache outlives them."""
    if not Path(source).is_dir():
        return None
    stats = [(str(file), file.stat()) for file in split_files(source, split)]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _is_count(feature: Any) -> bool:
    kind = getattr(feature, "dtype", "")
    return isinstance(kind, str) and (kind == "bool" or kind.startswith(("int", "uint")))


def _first_odd(values: Sequence[Any]) -> Any:
    return next(value for value in values if not isinstance(value, int))
