"""Images with their classes, from folders and parquet files, as a model's image processor prepares them."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mnemotomy.core.errors import DataError
from mnemotomy.core.json_text import read_json
from mnemotomy.core.printable import one_line
from mnemotomy.data.examples import Examples

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img"), ("label", "labels", "fine_label")
_AT_ONCE = 64  # images that the processor prepares together
_LISTED = 12  # classes named in an error


@dataclass(frozen=True)
class Picture:
    """An image, not yet decoded.

    Attributes:
        label: its class, by the model's number.
        content: the encoded bytes, or the file.
        where: for errors.
    """

    label: int
    content: bytes | Path
    where: str


def list_images(source: str | Path, names: Sequence[str]) -> list[Picture]:
    """The images of a folder or of a parquet file.

    In a folder, an image's class is the name of the folder that it lies in; a folder without images may have parquet
    files, each with a column ``image`` or ``img`` and a column ``label``, ``labels`` or ``fine_label``, as the hub
    writes them. Classes are found by name. Numbers are taken as the model's own where the data has no names, or names
    that the model does not know.

    Raises:
        DataError: there is no image, a class is not the model's, or a column is missing.
    """
    source = check_source(source)
    if source.is_file():
        return _of_parquet(source, names)
    files = sorted(one for one in source.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file())
    if files:
        labels = {one: class_number(one.name, names, str(one)) for one in {file.resolve().parent for file in files}}
        return [Picture(labels[file.resolve().parent], file, str(file)) for file in files]
    found = [one for file in sorted(source.rglob("*.parquet")) for one in _of_parquet(file, names)]
    if not found:
        raise DataError(f"{source}: there are no images; give a folder of images by class, or a .parquet file")
    return found


def check_source(source: str | Path) -> Path:
    """The folder or file of images.

    Raises:
        DataError: there is none, or the file is not a parquet file.
    """
    path = Path(source)
    if not path.exists() or (path.is_file() and path.suffix != ".parquet"):
        raise DataError(f"{path}: there are no images; give a folder of images by class, or a .parquet file")
    return path


def class_number(name: str, names: Sequence[str], where: str) -> int:
    """The number of a class, from its name, one of its names (``tabby, tabby cat``), or its number.

    Raises:
        DataError: the model has no such class.
    """
    wanted = name.strip().casefold()
    for number, one in enumerate(names):
        if wanted in (one.casefold(), *(part.strip().casefold() for part in one.split(","))):
            return number
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    more = ", ..." if len(names) > _LISTED else ""
    raise DataError(
        f"{where}: {name!r} is not a class of the model; its classes are {', '.join(names[:_LISTED])}{more}"
    )


def drawn(pictures: Sequence[Picture], most: int, seed: int) -> list[Picture]:
    """At most ``most`` of them, drawn at random, in their order."""
    places = sorted(random.Random(seed).sample(range(len(pictures)), min(most, len(pictures))))
    return [pictures[place] for place in places]


def prepared(pictures: Sequence[Picture], processor: Any, channels: int) -> Examples:
    """The images as the model reads them.

    Args:
        processor: an image processor of transformers.
        channels: of the model; 1 reads grey images.

    Raises:
        DataError: an image is damaged, Pillow is missing, the processor cannot read the images, or their sizes differ
            after it.
    """
    parts, named = [], type(processor).__name__
    for start in range(0, len(pictures), _AT_ONCE):
        some = [_decoded(one, "L" if channels == 1 else "RGB") for one in pictures[start : start + _AT_ONCE]]
        try:
            parts.append(processor(images=some, return_tensors="pt")["pixel_values"])
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            raise DataError(f"{pictures[start].where}: {named} cannot read the images: {one_line(error)}") from error
    sizes = {tuple(part.shape[2:]) for part in parts}
    if len(sizes) > 1:
        found = " and ".join(map(str, sorted(sizes)))
        raise DataError(f"{named} leaves the images at different sizes, {found}; set 'do_resize' and 'size' for it")
    return Examples(torch.cat(parts), torch.tensor([one.label for one in pictures]))


def _decoded(picture: Picture, mode: str) -> Any:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise DataError("reading images needs Pillow: pip install pillow") from error
    content = picture.content
    try:
        opened = Image.open(io.BytesIO(content) if isinstance(content, bytes) else content)
        return ImageOps.exif_transpose(opened).convert(mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{picture.where}: the image is damaged ({error}); remove or replace it") from error


def _of_parquet(file: Path, names: Sequence[str]) -> list[Picture]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise DataError("reading parquet files needs pyarrow: pip install pyarrow") from error
    try:
        schema = parquet.read_schema(file)
        image, label = (_column(schema.names, usual, file) for usual in (IMAGE_COLUMNS, LABEL_COLUMNS))
        table = parquet.read_table(file, columns=[image, label], partitioning=None)
    except (ArrowException, OSError) as error:
        raise DataError(f"{file} is not a complete parquet file ({error}); fetch it again") from error
    values = table[label].to_pylist()
    numbers = _numbers(set(values), _names_of(schema, label), names, str(file))
    found = []
    for row, (stored, value) in enumerate(zip(table[image].to_pylist(), values, strict=True)):
        content = stored.get("bytes") if isinstance(stored, dict) else stored
        if not isinstance(content, bytes):
            raise DataError(f"{file}, row {row}: column {image!r} has no encoded image; write the bytes into the file")
        found.append(Picture(numbers[value], content, f"{file}, row {row}"))
    return found


def _column(columns: Sequence[str], usual: Sequence[str], file: Path) -> str:
    found = next((one for one in usual if one in columns), None)
    if found is None:
        raise DataError(f"{file} has no column {' or '.join(map(repr, usual))}; its columns are {', '.join(columns)}")
    return found


def _names_of(schema: Any, column: str) -> Sequence[str]:
    """The names of the classes that ``datasets`` keeps in a file; none if it keeps none."""
    try:
        stored = read_json((schema.metadata or {}).get(b"huggingface", b"{}"))
        return stored.get("info", {}).get("features", {}).get(column, {}).get("names") or ()
    except (ValueError, AttributeError):
        return ()


def _numbers(values: Iterable[Any], own: Sequence[str], names: Sequence[str], where: str) -> dict[Any, int]:
    """The model's number of each label of a file."""
    try:
        return {value: class_number(own[value] if own else str(value), names, where) for value in values}
    except (DataError, IndexError, TypeError):
        if not own:
            raise
        return {value: class_number(str(value), names, where) for value in values}
