"""Figures of erased digits: reconstructions, and the errors on every digit after erasing each (Fig. 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from mnemotomy.report.figures import ACCENT, INK, SECOND, grid, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = ("#b9bcc4", SECOND, ACCENT, "#6a5acd", "#d9a441")
_CELL = 0.46  # inches of one image
_FRAME = 14  # width of an image in gaps


def reconstruction_grid(
    panels: Mapping[str, Mapping[str, UInt8[Tensor, "classes h w"]]],
    erased: Mapping[str, int],
    path: str | Path,
) -> None:
    """A panel per method: a column per digit, a row per state of the network, the erased digit framed (Fig. 5 left).

    Args:
        panels: by title, the images of every row by its name.
        erased: by name of a row, the column that is framed.
        path: of the file.
    """
    first = next(iter(panels.values()))
    columns = len(next(iter(first.values())))
    figure, axes = grid(
        1, len(panels), width=(columns * _CELL + 1.0) * len(panels), height=len(first) * _CELL + 0.5
    )  # fmt: skip
    for axis, (title, rows) in zip(axes, panels.items(), strict=True):
        side = next(iter(rows.values())).shape[-1]
        gap = max(1, side // _FRAME)
        step = side + gap
        sheet = np.full((len(rows) * step + gap, columns * step + gap), 255, dtype=np.uint8)
        for number, (name, images) in enumerate(rows.items()):
            top = gap + number * step
            for column, image in enumerate(images.numpy()):
                left = gap + column * step
                sheet[top : top + side, left : left + side] = image
                if erased.get(name) == column:
                    _frame(axis, left - gap / 2, top - gap / 2, side + gap)
        high, wide = sheet.shape
        axis.imshow(sheet, cmap="gray", vmin=0, vmax=255, extent=(0, wide, high, 0), interpolation="nearest")
        axis.set_yticks([gap + number * step + side / 2 for number in range(len(rows))], list(rows))
        axis.set_xticks([])
        axis.tick_params(length=0)
        for spine in axis.spines.values():
            spine.set_visible(False)
        axis.set(title=title)
    save(figure, path)


def error_matrices(
    before: Sequence[float],
    matrices: Mapping[str, Sequence[Sequence[float]]],
    classes: Sequence[str],
    path: str | Path,
) -> None:
    """A heatmap per method: the error relative to the original on each digit (columns) after erasing each (rows).

    Args:
        before: of the original, by class.
        matrices: by title, the errors on each class after erasing each class.
        classes: their names.
        path: of the file.
    """
    from matplotlib.colors import LogNorm

    figure, axes = grid(1, len(matrices), width=4.4 * len(matrices) + 0.6, height=4.3)
    ratios = {title: np.array(matrix) / np.array(before) for title, matrix in matrices.items()}
    highest = max(float(values.max()) for values in ratios.values())
    image = None
    for axis, (title, values) in zip(axes, ratios.items(), strict=True):
        image = axis.imshow(values, cmap="GnBu", norm=LogNorm(1.0, max(highest, 1.1)), aspect="auto")
        axis.set_xticks(range(len(classes)), classes)
        axis.set_yticks(range(len(classes)), classes)
        axis.tick_params(length=0)
        axis.set(title=title, xlabel="reconstructed", ylabel="erased")
        for (row, column), value in np.ndenumerate(values):
            dark = np.log(max(value, 1.0)) / np.log(max(highest, 1.1)) > 0.62
            number = f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
            axis.text(column, row, number, ha="center", va="center", fontsize=8, color="white" if dark else INK)
    assert image is not None  # there is at least one matrix
    bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02, label="error relative to the original")
    bar.ax.yaxis.set_major_formatter("{x:g}")
    save(figure, path)


def error_bars(
    records: Sequence[Mapping[str, Any]], digit: int, classes: Sequence[str], path: str | Path, erased_at: float
) -> None:
    """Groups of bars: the error on every digit, a bar per network, after forgetting one digit (Fig. 5 right).

    Args:
        records: with ``title`` and ``errors`` by class.
        digit: the one forgotten.
        classes: names.
        path: of the file.
        erased_at: the error that counts as erased, drawn as a line over the digit.
    """
    figure, (axis,) = grid(1, 1, width=8.4, height=3.6)
    width = 0.84 / len(records)
    for number, record in enumerate(records):
        places = np.arange(len(classes)) + (number - (len(records) - 1) / 2) * width
        color = _COLORS[number % len(_COLORS)]
        axis.bar(places, 1000 * np.array(record["errors"]), width * 0.94, color=color, label=record["title"])
    axis.plot([digit - 0.46, digit + 0.46], [1000 * erased_at] * 2, color=INK, linestyle=":", linewidth=1.2,
              label="mean image of the other digits")  # fmt: skip
    axis.set_xticks(range(len(classes)), classes)
    axis.set(xlabel=f"reconstructed digit ({classes[digit]} forgotten)", ylabel="squared error × 1000")
    axis.grid(axis="y", alpha=0.25)
    axis.set_axisbelow(True)
    axis.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)
    save(figure, path)


def _frame(axis: Axes, left: float, top: float, side: float) -> None:
    from matplotlib.patches import Rectangle

    axis.add_patch(Rectangle((left, top), side, side, fill=False, edgecolor=SECOND, linewidth=2.0, zorder=3))
