"""Toy faces: drawn 64×64 portraits with independent attributes and exact ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from mnemotomy.core.errors import DataError
from mnemotomy.core.progress import progress_bar
from mnemotomy_bench.generative.faces.drawing import SIDE, draw_face

ATTRIBUTES = ("glasses", "goatee", "hat", "bangs")

FACTORS: dict[str, tuple[float, float]] = {
    "skin": (0.0, 1.0),
    "shape": (-1.0, 1.0),
    "hair": (0.0, 1.0),
    "background": (0.0, 1.0),
    "shift_x": (-4.0, 4.0),
    "shift_y": (-3.0, 3.0),
    "tilt": (-9.0, 9.0),
}
"""Range of each continuous factor: skin and hair from light to dark, head from narrow to wide, hue of the background,
pose as a shift in pixels and a tilt in degrees. All are uniform."""


@dataclass(frozen=True)
class Faces:
    """Portraits and everything that they were drawn from.

    Attributes:
        images: 0 to 255.
        attributes: which of ``names`` each face has.
        names: of the attributes.
        factors: the continuous factors of each face, by name.
    """

    images: UInt8[Tensor, "n 3 64 64"]
    attributes: Bool[Tensor, "n k"]
    names: tuple[str, ...]
    factors: dict[str, Float[Tensor, " n"]]

    def __len__(self) -> int:
        return len(self.images)

    def attribute(self, name: str) -> Bool[Tensor, " n"]:
        """Which faces have the attribute.

        Raises:
            DataError: there is no such attribute.
        """
        return self.attributes[:, self._column(name)]

    def with_attribute(self, name: str, value: bool) -> Faces:
        """The same people, drawn with or without the attribute: what a perfect edit would show.

        Raises:
            DataError: there is no such attribute.
        """
        changed = self.attributes.clone()
        changed[:, self._column(name)] = value
        return draw_faces(changed, self.factors)

    def _column(self, name: str) -> int:
        if name not in self.names:
            raise DataError(f"faces have no attribute {name!r}; choose one of {', '.join(self.names)}")
        return self.names.index(name)


def toy_faces(count: int, seed: int, *, progress: bool = False) -> Faces:
    """``count`` different people; every combination of attributes equally often, in random order.

    Where 16 divides ``count``, the attributes' correlations are exactly 0, not only in expectation; the continuous
    factors are drawn independently of them and of each other.

    Raises:
        DataError: ``count`` is not positive, or Pillow is missing.
    """
    if count < 1:
        raise DataError(f"the number of faces must be positive, not {count}")
    random = np.random.default_rng(seed)
    combinations = random.permutation(np.arange(count) % 2 ** len(ATTRIBUTES))
    attributes = (combinations[:, None] >> np.arange(len(ATTRIBUTES))) & 1 == 1
    factors = {name: torch.from_numpy(random.uniform(low, high, count)) for name, (low, high) in FACTORS.items()}
    return draw_faces(torch.from_numpy(attributes), {name: f.float() for name, f in factors.items()}, progress=progress)


def draw_faces(
    attributes: Bool[Tensor, "n k"], factors: Mapping[str, Float[Tensor, " n"]], *, progress: bool = False
) -> Faces:
    """The faces with these attributes, in the order of `ATTRIBUTES`, and factors, as in `FACTORS`.

    Raises:
        DataError: a factor is missing, or the shapes do not fit.
    """
    missing = [name for name in FACTORS if name not in factors]
    if missing:
        raise DataError(f"faces need the factor {missing[0]!r}; give all of {', '.join(FACTORS)}")
    count = len(attributes)
    if attributes.shape != (count, len(ATTRIBUTES)) or any(f.shape != (count,) for f in factors.values()):
        raise DataError(f"give attributes [n, {len(ATTRIBUTES)}] and every factor [n], with the same n")
    has = attributes.tolist()
    values = {name: factors[name].tolist() for name in FACTORS}
    images = torch.empty(count, 3, SIDE, SIDE, dtype=torch.uint8)
    with progress_bar("drawing faces", count, enabled=progress) as advance:
        for n in range(count):
            face = draw_face(
                dict(zip(ATTRIBUTES, has[n], strict=True)), {name: column[n] for name, column in values.items()}
            )
            images[n] = torch.from_numpy(face)
            advance(1)
    return Faces(images, attributes, ATTRIBUTES, {name: factors[name] for name in FACTORS})
