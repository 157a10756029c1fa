"""One toy face: polygons in the face's own coordinates, drawn at four times the size and scaled down."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from mnemotomy.core.errors import DataError
from mnemotomy_bench.vision.image_files import EXTRA

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

SIDE = 64
OVERSAMPLING = 4

Color = tuple[int, int, int]
Points = Float[np.ndarray, "points 2"]

SKINS: tuple[Color, ...] = ((252, 222, 200), (226, 172, 132), (168, 112, 76), (88, 56, 40))
HAIRS: tuple[Color, ...] = ((222, 180, 96), (150, 84, 40), (76, 48, 30), (26, 22, 24))
SHIRT: Color = (92, 104, 124)
HAT: Color = (176, 38, 48)
FRAME: Color = (20, 22, 30)
HEAD_HEIGHT = 0.60


def draw_face(attributes: Mapping[str, bool], factors: Mapping[str, float]) -> UInt8[np.ndarray, "3 64 64"]:
    """The face with these attributes and factors (see `faces.dataset`); the same pixels every time.

    Raises:
        DataError: Pillow is missing.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise DataError(f"drawing faces needs Pillow: {EXTRA}") from error
    large = SIDE * OVERSAMPLING
    image = Image.fromarray(_background(factors["background"], large))
    _Face(ImageDraw.Draw(image), factors).draw(attributes)
    small = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))


@dataclass(frozen=True)
class _Face:
    """Coordinates: the image reaches from −1 to 1, y downwards; the head turns and moves with the pose."""

    canvas: ImageDraw
    factors: Mapping[str, float]

    def draw(self, attributes: Mapping[str, bool]) -> None:
        """Draw all parts from back to front."""
        skin, hair = _between(SKINS, self.factors["skin"]), _between(HAIRS, self.factors["hair"])
        width = 0.47 + 0.06 * self.factors["shape"]
        self._hair_behind(hair, width)
        self._body(skin)
        self._head(skin, width)
        self._crown(hair, width)
        self._features(skin, hair)
        if attributes["goatee"]:
            self._goatee(hair, skin)
        if attributes["bangs"]:
            self._bangs(hair, width)
        if attributes["glasses"]:
            self._glasses(width)
        if attributes["hat"]:
            self._hat(width)

    def _hair_behind(self, hair: Color, width: float) -> None:
        self._fill(_ellipse(0, -0.10, width + 0.11, 0.66), _shade(hair, 0.85))

    def _body(self, skin: Color) -> None:
        self._fill(_ellipse(0, 1.12, 0.80, 0.34), SHIRT, still=True)
        self._fill(_box(-0.19, 0.40, 0.19, 0.84), _shade(skin, 0.82), still=True)
        self._fill(_ellipse(0, 0.82, 0.19, 0.10), _shade(skin, 0.82), still=True)

    def _head(self, skin: Color, width: float) -> None:
        for side in (-1, 1):
            self._fill(_ellipse(side * width, 0.06, 0.09, 0.14), _shade(skin, 0.90))
        self._fill(_head_outline(width, self.factors["shape"]), skin)
        for side in (-1, 1):
            self._fill(_ellipse(side * 0.56 * width, 0.26, 0.10, 0.07), _mix(skin, (226, 96, 84), 0.16))

    def _crown(self, hair: Color, width: float) -> None:
        outer = _arc(0, -0.06, width + 0.07, 0.66, 180, 360)
        inner = _arc(0, -0.04, width * 0.96, 0.40, 360, 180)
        self._fill(np.concatenate([outer, inner]), hair)

    def _features(self, skin: Color, hair: Color) -> None:
        for side in (-1, 1):
            x = side * 0.20
            self._fill(_ellipse(x, 0.03, 0.095, 0.062), (250, 250, 248))
            self._fill(_ellipse(x, 0.03, 0.052, 0.058), (72, 58, 50))
            self._fill(_ellipse(x + 0.015, 0.012, 0.016, 0.016), (255, 255, 255))
            brow = np.concatenate([_arc(x, -0.09, 0.13, 0.07, 200, 340), _arc(x, -0.07, 0.12, 0.04, 340, 200)])
            self._fill(brow, _shade(hair, 0.75))
        self._fill(np.array([[-0.025, 0.06], [0.03, 0.06], [0.075, 0.23], [-0.055, 0.23]]), _shade(skin, 0.88))
        self._fill(_ellipse(0.01, 0.23, 0.07, 0.035), _shade(skin, 0.84))
        lips = np.concatenate([_arc(0, 0.355, 0.16, 0.03, 180, 360), _arc(0, 0.355, 0.16, 0.085, 0, 180)])
        self._fill(lips, _mix(skin, (178, 48, 58), 0.65))

    def _goatee(self, hair: Color, skin: Color) -> None:
        dark = _mix(_shade(hair, 0.72), (20, 16, 14), 0.35)
        moustache = np.concatenate([_arc(0, 0.345, 0.22, 0.075, 180, 360), _arc(0, 0.365, 0.17, 0.035, 360, 180)])
        self._fill(moustache, dark)
        for side in (-1, 1):
            self._fill(_box(side * 0.195 - 0.03, 0.33, side * 0.195 + 0.03, 0.52), dark)
        beard = np.concatenate([_arc(0, 0.50, 0.225, 0.20, 0, 180), _arc(0, 0.50, 0.225, 0.03, 180, 360)])
        self._fill(beard, dark)
        self._fill(_ellipse(0, 0.47, 0.06, 0.02), skin)

    def _bangs(self, hair: Color, width: float) -> None:
        reach = 0.93 * width
        fringe = np.linspace(reach, -reach, 9)
        ragged = np.stack([fringe, np.where(np.arange(9) % 2, -0.11, -0.17)], axis=1)
        self._fill(np.concatenate([_arc(0, -0.16, width, 0.36, 180, 360), ragged]), _shade(hair, 1.08))
        for x in fringe[1:-1:2]:
            strand = np.array([[x - 0.012, -0.46], [x + 0.012, -0.46], [x, -0.13]])
            self._fill(strand, _shade(hair, 0.82))

    def _glasses(self, width: float) -> None:
        for side in (-1, 1):
            self._line(_ellipse(side * 0.205, 0.04, 0.165, 0.135), 0.042)
            self._line(np.array([[side * 0.36, 0.02], [side * width, -0.01]]), 0.04)
        self._line(_arc(0, 0.02, 0.055, 0.045, 180, 360), 0.04)

    def _hat(self, width: float) -> None:
        crown = np.concatenate([_arc(0, -0.42, width + 0.05, 0.48, 180, 360), [[width + 0.05, -0.30]]])
        self._fill(np.concatenate([crown, [[-width - 0.05, -0.30]]]), HAT)
        self._fill(_box(-width - 0.05, -0.46, width + 0.05, -0.36), _shade(HAT, 0.55))
        self._fill(_ellipse(0, -0.34, width + 0.22, 0.062), _shade(HAT, 0.85))

    def _fill(self, points: Points, color: Color, *, still: bool = False) -> None:
        self.canvas.polygon(self._pixels(points, still), fill=color)

    def _line(self, points: Points, width: float) -> None:
        thickness = round(width * SIDE * OVERSAMPLING / 2)
        self.canvas.line(self._pixels(points, False), fill=FRAME, width=thickness, joint="curve")

    def _pixels(self, points: Points, still: bool) -> list[tuple[float, float]]:
        """Positions on the large canvas; the body takes half of the shift and does not tilt."""
        shift = np.array([self.factors["shift_x"], self.factors["shift_y"]])
        if not still:
            angle = np.deg2rad(self.factors["tilt"])
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            pivot = np.array([0.0, 0.5])  # the neck
            points = (points - pivot) @ turn + pivot
        placed = points + shift * (0.5 if still else 1.0) * 2 / SIDE + np.array([0.0, 0.06])
        return [(float(x), float(y)) for x, y in (placed + 1) * SIDE * OVERSAMPLING / 2]


def _head_outline(width: float, shape: float) -> Points:
    """An ellipse above; below, a jaw that is round for wide and long for narrow heads."""
    angles = np.deg2rad(np.arange(0, 360, 5))
    x, y = np.cos(angles), np.sin(angles)
    fullness = 0.80 + 0.16 * shape
    jaw = np.sign(x) * np.abs(x) ** np.where(y > 0, fullness, 1.0)
    return np.stack([width * jaw, (HEAD_HEIGHT - 0.03 * shape) * y], axis=1)


def _ellipse(x: float, y: float, width: float, height: float) -> Points:
    return _arc(x, y, width, height, 0, 360)


def _arc(x: float, y: float, width: float, height: float, start: float, stop: float) -> Points:
    """Points of an ellipse with these half axes; degrees, clockwise from the right."""
    angles = np.deg2rad(np.linspace(start, stop, 37))
    return np.stack([x + width * np.cos(angles), y + height * np.sin(angles)], axis=1)


def _box(left: float, top: float, right: float, bottom: float) -> Points:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _background(hue: float, side: int) -> UInt8[np.ndarray, "side side 3"]:
    """A soft colour, lighter above."""
    above, below = (np.array(colorsys.hsv_to_rgb(hue, 0.38, value)) for value in (0.92, 0.66))
    ramp = np.linspace(0, 1, side)[:, None, None]
    rows = np.round(255 * ((1 - ramp) * above + ramp * below)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(rows, (side, side, 3)))


def _between(palette: tuple[Color, ...], share: float) -> Color:
    """The palette's colour at ``share`` of its length, from 0 to 1."""
    position = share * (len(palette) - 1)
    left = min(int(position), len(palette) - 2)
    return _mix(palette[left], palette[left + 1], position - left)


def _mix(left: Color, right: Color, share: float) -> Color:
    red, green, blue = (round((1 - share) * a + share * b) for a, b in zip(left, right, strict=True))
    return red, green, blue


def _shade(color: Color, factor: float) -> Color:
    red, green, blue = (min(255, round(factor * value)) for value in color)
    return red, green, blue
