"""Encoded images decoded by Pillow into one tensor."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mnemotomy.core.errors import DataError
from mnemotomy_bench.vision.image_files import EXTRA

if TYPE_CHECKING:
    from PIL.Image import Image


def decoded_images(parts: Sequence[Any], column: str, size: int | None, where: str) -> UInt8[Tensor, "n c h w"]:
    """All images of a column, grey ones repeated to three channels if others are in colour.

    Args:
        parts: `datasets.Dataset` parts, as `open_rows` gives them.
        column: holds encoded images.
        size: scale the shorter side to this many pixels and crop the centre.
        where: the source's name, for errors.

    Raises:
        DataError: Pillow is missing, an image is missing, damaged or of 32 bits per pixel and channel, or images differ
            in size without ``size``.
    """
    pictures = [torch.from_numpy(_decode(stored, number, size, where)) for number, stored in _stored(parts, column)]
    shapes = sorted({tuple(picture.shape[1:]) for picture in pictures})
    if len(shapes) > 1:
        sizes = ", ".join(f"{height}×{width}" for height, width in shapes[:4])
        raise DataError(f"{where}: images of mixed size ({sizes}); give size= to scale and crop them to one size")
    channels = max(len(picture) for picture in pictures)
    return torch.stack([picture.expand(channels, -1, -1) for picture in pictures])


def _stored(parts: Sequence[Any], column: str) -> Iterator[tuple[int, Any]]:
    """The rows' numbers and the encoded images: ``{"bytes": …, "path": …}`` as `datasets` keeps them, or bytes."""
    number = 0
    for part in parts:
        for batch in part.select_columns([column]).with_format("arrow").iter(1000):
            for stored in batch[column].to_pylist():
                yield number, stored
                number += 1


def _decode(stored: Any, number: int, size: int | None, where: str) -> UInt8[np.ndarray, "c h w"]:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise DataError(f"decoding images needs Pillow: {EXTRA}") from error
    content = stored.get("bytes") if isinstance(stored, dict) else stored
    path = stored.get("path") if isinstance(stored, dict) else None
    if not isinstance(content, bytes) and not path:
        raise DataError(f"{where} row {number}: no image; the column must hold encoded images (PNG, JPEG)")
    try:
        opened = Image.open(io.BytesIO(content) if content else str(path))
        image = _of_bytes(ImageOps.exif_transpose(opened), f"{where} row {number}")  # upright, like datasets
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # a truncated or foreign file
        raise DataError(f"{where} row {number}: damaged image ({error})") from error
    if size is not None and image.size != (size, size):
        scale = size / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    pixels = np.array(image)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _of_bytes(opened: Image, row: str) -> Image:
    """Grey or in three colours, a byte each; ``convert`` would turn all grey values above 255 white.

    Raises:
        DataError: the pixels are of 32 bits, whose range the file does not state.
    """
    from PIL import Image

    if opened.mode.startswith("I;16"):
        return Image.fromarray(np.rint(np.asarray(opened) / 257).astype(np.uint8))
    if opened.mode in ("I", "F"):
        raise DataError(f"{row}: pixels of mode {opened.mode!r} have no known range; save the images with 8 bits")
    return opened.convert("L" if opened.mode in ("1", "L") else "RGB")
