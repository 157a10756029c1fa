"""Figures of faces: sliders over α, sums of engrams, and what a classifier reads against α."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mnemotomy.core.files import output_file
from mnemotomy.report.figures import ACCENT, INK, SECOND, grid, save, spell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL, _LARGE = 0.46, 0.7  # inches of one face, in sliders and in sums
_COLORS = (SECOND, ACCENT, "#6a5acd", "#b8860b")


def slider_grid(
    sliders: Mapping[str, Float[Tensor, "faces columns c s s"]], alphas: Sequence[float], path: str | Path
) -> None:
    """One panel per attribute, two in a row: faces (rows) at every α (columns), as in Fig. 7 and 15.

    Args:
        sliders: by attribute; before the columns of α come the face and, if there is one, the exact ground truth
            without the attribute.
        alphas: of the other columns.
        path: of the PNG.
    """
    first = next(iter(sliders.values()))
    faces, columns = first.shape[:2]
    heads = ["face", "truth"][: columns - len(alphas)] + [_fraction(alpha) for alpha in alphas]
    side_by_side = min(2, len(sliders))
    rows = -(-len(sliders) // side_by_side)
    figure, axes = grid(
        rows, side_by_side, width=side_by_side * (columns * _CELL + 0.2), height=rows * (faces * _CELL + 0.5)
    )
    for axis, (name, images) in zip(axes, sliders.items(), strict=False):
        _mosaic(axis, images, heads)
        axis.set_title(f"{_spelled(name)}: μ − α μ⁺", fontsize=9, color=INK, pad=14)
    for axis in axes[len(sliders) :]:
        axis.set_axis_off()
    _save_in_few_colors(figure, path)


def arithmetic_grid(images: Float[Tensor, "faces columns c s s"], titles: Sequence[str], path: str | Path) -> None:
    """Faces (rows) under sums of engrams (columns), as in Fig. 8."""
    faces, columns = images.shape[:2]
    figure, (axis,) = grid(1, 1, width=columns * _LARGE + 0.2, height=faces * _LARGE + 0.6)
    _mosaic(axis, images, [_wrapped(title) for title in titles])
    _save_in_few_colors(figure, path)


def reading_curves(
    records: Sequence[Mapping[str, Any]], attributes: Sequence[str], alphas: Sequence[float], path: str | Path
) -> None:
    """A row per method, a panel per erased attribute: the mean probability of every attribute against α.

    Args:
        records: with ``title`` and ``curves``, over seeds.
        attributes: in the order of the panels.
        alphas: of the curves.
        path: of the PNG.
    """
    rows, columns = len(records), len(attributes)
    figure, axes = grid(rows, columns, width=2.0 * columns + 1.3, height=1.5 * rows + 0.4)
    for number, axis in enumerate(axes):
        row, column = divmod(number, columns)
        record, edited = records[row], attributes[column]
        readings = record["curves"][edited]["probability"]
        for color, name in zip(_COLORS, attributes, strict=False):
            own = name == edited
            axis.plot(
                alphas, readings[name], color=color, linewidth=2.2 if own else 1.0, marker="o" if own else None,
                markersize=4, alpha=1.0 if own else 0.8, label=_spelled(name),
            )  # fmt: skip
        axis.axvline(0.0, color="#888", linewidth=0.8, linestyle=":")
        axis.set(ylim=(-0.04, 1.04))
        axis.set_yticks([0.0, 0.5, 1.0], ["0", "0.5", "1"] if column == 0 else [""] * 3)
        axis.set_xticks(list(alphas), [_fraction(alpha) if row == rows - 1 else "" for alpha in alphas])
        axis.tick_params(labelsize=7)
        if row == 0:
            axis.set_title(f"erasing {_spelled(edited)}", fontsize=9)
        if column == 0:
            axis.set_ylabel(f"{record['title']}\nprobability", fontsize=7)
        if row == rows - 1:
            axis.set_xlabel("α", fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
    for handle in legend.get_lines():
        handle.set(linewidth=2.0, marker="", alpha=1.0)
    save(figure, path)


def _save_in_few_colors(figure: Figure, path: str | Path) -> None:
    """Like ``save``, in 256 colours: a third of the size for figures full of pictures."""
    from PIL import Image

    drawn = io.BytesIO()
    spell(figure)
    figure.savefig(drawn, dpi=150, format="png")
    picture = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    with output_file(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)


def _mosaic(axis: Axes, images: Float[Tensor, "faces columns c s s"], heads: Sequence[str]) -> None:
    """One picture of all images, with white lines between them and a header above each column."""
    pixels = images.float().clamp(0, 1).numpy()
    padded = np.pad(pixels, ((0, 0), (0, 0), (0, 0), (0, 1), (0, 1)), constant_values=1.0)
    faces, columns, channels, height, width = padded.shape
    canvas = padded.transpose(0, 3, 1, 4, 2).reshape(faces * height, columns * width, channels)
    axis.imshow(canvas, interpolation="nearest")
    axis.set_xticks([(column + 0.5) * width for column in range(columns)], heads, fontsize=7)
    axis.xaxis.tick_top()
    axis.tick_params(length=0, pad=1)
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def _fraction(alpha: float) -> str:
    """A fraction such as ``−2/3``."""
    return str(Fraction(alpha).limit_denominator(12)).replace("-", "−")


def _spelled(name: str) -> str:
    return name.replace("_", " ").lower()


def _wrapped(title: str) -> str:
    """A line for each term."""
    return _spelled(title).replace(" + ", "\n+ ").replace(" − ", "\n− ")
