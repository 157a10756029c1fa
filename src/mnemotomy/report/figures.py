"""Figures: accuracy by class and by filter, and where a concept is."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnemotomy.core.errors import DataError, MnemotomyError
from mnemotomy.core.files import check_file, output_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, ACCENT, SECOND = "#1b1b1f", "#0b6e6e", "#c8553d"
_CROWDED = 14  # with more columns than this, a heatmap's cells have no numbers


def accuracy_heatmap(
    matrices: Mapping[str, Sequence[Sequence[float]]],
    classes: Sequence[str],
    path: str | Path,
    before: Sequence[float] = (),
) -> None:
    """One heatmap per title: the accuracy on each class (columns) after erasing each class (rows).

    Args:
        matrices: in [0, 1].
        classes: of rows and columns.
        before: accuracies of the unedited model, as a first row.
    """
    figure, axes = grid(1, len(matrices), width=4.6 * len(matrices), height=4.6)
    names = ["(nothing)", *classes] if len(before) else list(classes)
    for axis, (title, matrix) in zip(axes, matrices.items(), strict=True):
        rows = [before, *matrix] if len(before) else matrix
        _heatmap(axis, 100 * np.array(rows), names, list(classes), "{:.0f}", (0, 100))
        if len(before):
            axis.axhline(0.5, color=INK, linewidth=1.2)
        axis.set(title=title, xlabel="accuracy on (%)", ylabel="erased")
    save(figure, path)


def subset_curves(subsets: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Mean accuracy on the erased and on the kept classes by the number of classes erased."""
    figure, (axis,) = grid(1, 1, width=5.6, height=3.6)
    for key, label, color in (("kept_accuracy", "kept", ACCENT), ("erased_accuracy", "erased", SECOND)):
        points = [(row["size"], 100 * row[key]) for row in subsets if row[key] is not None]
        axis.plot(*zip(*points, strict=True), marker="o", color=color)
        axis.annotate(label, points[-1], xytext=(8, 0), textcoords="offset points", color=color, va="center")
    axis.set(xlabel="classes erased at once", ylabel="mean accuracy (%)", ylim=(-4, 104), xlim=(0.5, 11.6))
    axis.set_xticks(range(1, len(subsets) + 1))
    axis.grid(axis="y", alpha=0.25)
    save(figure, path)


def weight_norms(rows: Iterable[Mapping[str, Any]]) -> tuple[list[int | None], list[str], dict[Any, float]]:
    """The blocks and the kinds of projection in ``Atlas.trace_rows``, and ‖W⁺‖/‖W‖ averaged over each pair's sites."""
    found: dict[Any, list[float]] = {}
    for row in rows:
        found.setdefault((row["layer"], row["kind"]), []).append(row["weight_norm"])
    layers, kinds = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    return layers, kinds, {pair: sum(norms) / len(norms) for pair, norms in found.items()}


def trace_heatmap(trace: Any, path: str | Path) -> None:
    """‖W⁺‖/‖W‖ by block and kind of projection, one panel per concept (Fig. 9); experts are averaged.

    Args:
        trace: of ``Atlas.trace``, or its rows.
    """
    lines = trace if isinstance(trace, Sequence) else trace.astype(object).where(trace.notna(), None).to_dict("records")
    concepts = list(dict.fromkeys(row["concept"] for row in lines))
    layers, kinds, _ = weight_norms(lines)
    height = max(2.4, 0.42 * max(1, len(layers) - (None in layers)) + 1.6)
    columns = min(len(concepts), 5)
    rows = -(-len(concepts) // columns)
    figure, axes = grid(rows, columns, width=max(3.2, 0.72 * len(kinds) + 1.6) * columns, height=height * rows)
    largest = max((float(row["weight_norm"]) for row in lines), default=0.0) or 1.0
    for axis, concept in zip(axes, concepts, strict=False):
        layers, kinds, norms = weight_norms(row for row in lines if row["concept"] == concept)
        values = np.array([[norms.get((layer, kind), math.nan) for kind in kinds] for layer in layers])
        names = ["–" if layer is None else str(layer) for layer in layers]
        _heatmap(axis, values, names, kinds, "{:.2f}", (0, largest))
        axis.set(title=f"{concept}: ‖W⁺‖/‖W‖", ylabel="block")
    for axis in axes[len(concepts) :]:
        axis.set_axis_off()
    save(figure, path)


def filter_bars(accuracies: Mapping[str, Mapping[str, float]], path: str | Path) -> None:
    """Groups of bars: the accuracy on each group of probes, one bar per state of the model."""
    states, groups = list(accuracies), list(next(iter(accuracies.values())))
    figure, (axis,) = grid(1, 1, width=7.2, height=3.6)
    colors = ["#b9bcc4", SECOND, ACCENT, "#6a5acd"]
    width = 0.8 / len(states)
    for i, state in enumerate(states):
        positions = np.arange(len(groups)) + (i - (len(states) - 1) / 2) * width
        values = [100 * accuracies[state][group] for group in groups]
        bars = axis.bar(positions, values, width * 0.94, color=colors[i % len(colors)], label=state)
        axis.bar_label(bars, fmt="%.0f", fontsize=8, padding=1)
    axis.set_xticks(range(len(groups)), [textwrap.fill(group.replace("_", " "), 13) for group in groups])
    axis.set(ylabel="accuracy (%)", ylim=(0, 112))
    axis.legend(frameon=False, ncols=len(states), loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)
    save(figure, path)


def grid(rows: int, columns: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of ``width × height`` inches and its axes, row by row.

    Raises:
        MnemotomyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MnemotomyError("figures need matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(width, height), layout="constrained")  # no pyplot: no global state, no window
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.ravel())


def _heatmap(
    axis: Axes,
    values: np.ndarray[Any, Any],
    rows: Sequence[str],
    columns: Sequence[str],
    number: str,
    limits: tuple[float, float],
) -> None:
    low, high = limits
    axis.imshow(np.ma.masked_invalid(values), cmap="GnBu", vmin=low, vmax=high, aspect="auto")
    slanted: dict[str, Any] = (
        {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, columns)) > 3 else {}
    )
    axis.set_xticks(range(len(columns)), columns, **slanted)
    axis.set_yticks(range(len(rows)), rows)
    axis.tick_params(length=0)
    if len(columns) > _CROWDED:
        return
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = (value - low) / max(high - low, 1e-12) > 0.62
            axis.text(j, i, number.format(value), ha="center", va="center", fontsize=8, color="white" if dark else INK)


def form_of(path: str | Path) -> str:
    """The format of a figure, by the path's suffix.

    Raises:
        DataError: matplotlib does not write this format, or the path is a folder.
        MnemotomyError: matplotlib is not installed.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise MnemotomyError("figures need matplotlib: pip install matplotlib") from error
    check_file(Path(path))
    form, known = Path(path).suffix.lstrip(".") or "png", FigureCanvasBase.get_supported_filetypes()
    if form not in known:
        raise DataError(f"cannot write a figure as .{form}; choose one of {', '.join(sorted(known))}")
    return form


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure in the format of the path's suffix, all or nothing. Errors as for ``form_of``."""
    form = form_of(path)
    spell(figure)
    with output_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format=form)


def spell(figure: Figure) -> None:
    """Print dollar signs literally, as names come from data. The numbers at an axis stay formulas, as in 10²."""
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter, ScalarFormatter

    numbers = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        if isinstance(axis.get_major_formatter(), LogFormatter | ScalarFormatter)
        for label in axis.findobj(Text)
        if label is not axis.label
    }
    for text in figure.findobj(Text):
        if text not in numbers:
            text.set_parse_math(False)
