"""The faces of one split: images, attributes, and, of toy faces, their factors and the exact ground truth."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mnemotomy.core.cells import Cells
from mnemotomy.core.errors import DataError
from mnemotomy.core.keys import file_digest, key
from mnemotomy_bench.generative.faces import drawing as face_drawing
from mnemotomy_bench.generative.faces.cases import FaceCase
from mnemotomy_bench.generative.faces.dataset import ATTRIBUTES, FACTORS, Faces, draw_faces, toy_faces
from mnemotomy_bench.vision.image_files import split_files
from mnemotomy_bench.vision.images import load_attributes

HUE = "background"
"""The factor whose lowest and highest values look the same."""

CIRCULAR = torch.tensor([name == HUE for name in FACTORS])
_SEEDS = {"train": 1, "validation": 2, "test": 3, "classifier": 4}


@dataclass(frozen=True)
class Portraits:
    """Faces as networks read them.

    Attributes:
        pixels: 0 to 255.
        attributes: which ones each face has.
        factors: scaled to [0, 1] by their ranges, in the order of ``FACTORS``; none for photographs.
    """

    pixels: UInt8[Tensor, "n 3 s s"]
    attributes: Bool[Tensor, "n k"]
    factors: Float[Tensor, "n m"] | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: slice | Tensor) -> Portraits:
        factors = None if self.factors is None else self.factors[rows]
        return Portraits(self.pixels[rows], self.attributes[rows], factors)

    @property
    def images(self) -> Float[Tensor, "n 3 s s"]:
        """Pixels from 0 to 1."""
        return self.pixels.float() / 255

    def having(self, place: int, value: bool = True) -> Portraits:
        """The faces with, or without, the attribute at this index."""
        return self[self.attributes[:, place] == value]

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Iterator[Portraits]:
        """Every face once, in order or in an order drawn from ``generator``; the last batch may be smaller."""
        order = torch.arange(len(self)) if generator is None else torch.randperm(len(self), generator=generator)
        for rows in order.split(batch_size):
            yield self[rows.to(self.pixels.device)]

    def to(self, device: torch.device) -> Portraits:
        """The same on another device."""
        factors = None if self.factors is None else self.factors.to(device)
        return Portraits(self.pixels.to(device), self.attributes.to(device), factors)


def load_portraits(case: FaceCase, split: str, folder: Path) -> Portraits:
    """The faces of ``train``, ``validation``, ``test`` or ``classifier``.

    Args:
        case: which faces, and how many.
        split: splits share no face.
        folder: where drawn faces are kept; they are reused.

    Raises:
        DataError: the folder of photographs is missing or too small, or Pillow is missing.
    """
    if case.folder is not None:
        return _photographs(case, case.folder, split)
    count = {"train": case.train, "validation": case.validation, "test": case.test, "classifier": case.classified}
    return _toy(_drawn(count[split] or 0, _SEEDS[split], folder), case.side)


def without_attribute(case: FaceCase, split: str, place: int, folder: Path) -> Portraits | None:
    """The faces of a split that have the attribute, exactly as they would look without it; None for photographs.

    In the order of ``load_portraits(…).having(place)``.
    """
    if case.folder is not None:
        return None
    count = {"validation": case.validation, "test": case.test}[split]
    faces = _drawn(count, _SEEDS[split], folder)
    having = faces.attributes[:, place]
    attributes = faces.attributes[having]
    attributes[:, place] = False
    factors = {name: values[having] for name, values in faces.factors.items()}
    path = folder / f"{_key(count, _SEEDS[split])}-without-{ATTRIBUTES[place]}.safetensors"
    if not path.is_file():
        _save(draw_faces(attributes, factors, progress=True), path)
    return _toy(_load(path), case.side)


def _toy(faces: Faces, side: int) -> Portraits:
    columns = [(faces.factors[name] - low) / (high - low) for name, (low, high) in FACTORS.items()]
    return Portraits(_scaled(faces.images, side), faces.attributes, torch.stack(columns, 1))


def _scaled(pixels: UInt8[Tensor, "n 3 h w"], side: int) -> UInt8[Tensor, "n 3 s s"]:
    if pixels.shape[-1] == side:
        return pixels
    small = nn.functional.interpolate(pixels.float(), size=(side, side), mode="area")
    return small.round().to(torch.uint8)


def _drawn(count: int, seed: int, folder: Path) -> Faces:
    cells = Cells(folder, ".safetensors", _load, _save)
    return cells.kept(_key(count, seed), lambda: toy_faces(count, seed, progress=True))


def _save(faces: Faces, path: Path) -> None:
    save_file({"images": faces.images, "attributes": faces.attributes.contiguous(), **faces.factors}, path)


def _load(path: Path) -> Faces:
    tensors = load_file(path)
    return Faces(tensors["images"], tensors["attributes"], ATTRIBUTES, {name: tensors[name] for name in FACTORS})


def _key(count: int, seed: int) -> str:
    """Changes with the drawing code, so that old pictures are not mistaken for new ones."""
    return key(count, seed, file_digest(face_drawing.__file__))


def _photographs(case: FaceCase, folder: Path, split: str) -> Portraits:
    source = "train" if split == "classifier" else split
    names = {"validation": ("validation", "valid"), "train": ("train",), "test": ("test",)}[source]
    images = load_attributes(folder, _first_there(folder, names), case.attributes, size=case.side)
    faces = Portraits(images.inputs, images.labels)
    if source != "train":
        return faces[: {"validation": case.validation, "test": case.test}[source]]
    if len(faces) <= case.classified:
        raise DataError(f"{folder} has {len(faces)} faces to train with; the classifier alone takes {case.classified}")
    if split == "classifier":
        return faces[len(faces) - case.classified :]
    learned = faces[: len(faces) - case.classified]
    return learned if case.train is None else learned[: case.train]


def _first_there(folder: Path, names: Sequence[str]) -> str:
    """The first name that is a split of the folder; if none is, the first one, for the error message."""
    for name in names:
        with contextlib.suppress(DataError):
            split_files(folder, name)
            return name
    return names[0]


def hue_as_point(factors: Float[Tensor, "n m"]) -> Float[Tensor, "n m+1"]:
    """What a network regresses: the hue as a point on a circle, in the last two columns, all in [0, 1]."""
    hue = 2 * math.pi * factors[:, CIRCULAR]
    circle = torch.cat([hue.sin(), hue.cos()], 1)
    return torch.cat([factors[:, ~CIRCULAR], (circle + 1) / 2], 1)


def hue_from_point(numbers: Float[Tensor, "n m+1"]) -> Float[Tensor, "n m"]:
    """The inverse of ``hue_as_point``, in the order of ``FACTORS``."""
    circle = 2 * numbers[:, -2:] - 1
    found = numbers.new_empty(len(numbers), len(CIRCULAR))
    found[:, ~CIRCULAR] = numbers[:, :-2]
    found[:, CIRCULAR] = (torch.atan2(circle[:, 0], circle[:, 1]) / (2 * math.pi) % 1)[:, None]
    return found
