"""Figures of the TOFU bench: where an engram is large, what a setting does, forgetting against utility."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnemotomy.report.figures import ACCENT, INK, SECOND, grid, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = Mapping[str, Any]
FAMILIES = {"closed form": ACCENT, "gradient": SECOND, "hybrid": "#6a5acd", "baseline": "#8a8d95"}
SCORES = {
    "overall": ("Overall", INK),
    "memorization": ("Mem.", SECOND),
    "utility": ("Util.", ACCENT),
    "privacy": ("Priv.", "#6a5acd"),
}
_SMALLEST, _LARGEST = 40.0, 900.0  # areas of marks, in square points
_DARK = 0.62


def weight_norm_heatmap(rows: Sequence[Record], path: str | Path) -> None:
    """‖W⁺‖/‖W‖ by block (down) and kind of projection (across), as in Fig. 9; projections outside blocks come last."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    layers = sorted({row["layer"] for row in rows if row["layer"] is not None})
    lines: list[int | None] = [*layers, *([None] if any(row["layer"] is None for row in rows) else [])]
    table = np.full((len(lines), len(kinds)), np.nan)
    for row in rows:
        table[lines.index(row["layer"]), kinds.index(row["kind"])] = row["weight_norm"]
    figure, (axis,) = grid(1, 1, width=0.95 * len(kinds) + 2.0, height=0.46 * len(lines) + 1.7)
    largest = float(np.nanmax(table)) or 1.0
    picture = axis.imshow(np.ma.masked_invalid(table), cmap="GnBu", vmin=0.0, vmax=largest, aspect="auto")
    axis.set_xticks(range(len(kinds)), kinds, rotation=35, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(lines)), ["–" if layer is None else str(layer) for layer in lines])
    axis.set(ylabel="block", title="‖W⁺‖ / ‖W‖")
    axis.tick_params(length=0)
    for (i, j), value in np.ndenumerate(table):
        if np.isfinite(value):
            color = "white" if value / largest > _DARK else INK
            axis.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color=color)
    figure.colorbar(picture, ax=axis, fraction=0.04)
    save(figure, path)


def sweep_curves(records: Sequence[Record], title: str, path: str | Path) -> None:
    """The four scores along a setting; bars if it is not a number. Settings that broke the model are omitted."""
    whole = [record for record in records if record.get("overall") is not None]
    if all(record["value"] is not None for record in whole):
        figure, (axis,) = grid(1, 1, width=6.4, height=3.8)
        values = [float(record["value"]) for record in whole]
        for key, (label, color) in SCORES.items():
            axis.plot(values, [record[key] for record in whole], marker="o", markersize=4, color=color, label=label)
        if values and min(values) > 0 and max(values) / min(values) > 50:
            axis.set_xscale("log")
        axis.set(xlabel=title, ylabel="score", ylim=(-0.03, 1.03))
        axis.grid(axis="y", alpha=0.25)
    else:
        figure, (axis,) = grid(1, 1, width=7.2, height=0.5 * len(whole) + 1.4)
        height = 0.8 / len(SCORES)
        for number, (key, (label, color)) in enumerate(SCORES.items()):
            places = np.arange(len(whole)) + (number - (len(SCORES) - 1) / 2) * height
            axis.barh(places, [record[key] for record in whole], height * 0.92, color=color, label=label)
        axis.set_yticks(range(len(whole)), [record["title"] for record in whole])
        axis.invert_yaxis()
        axis.set(xlabel="score", xlim=(0.0, 1.03), title=title)
        axis.grid(axis="x", alpha=0.25)
    axis.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save(figure, path)


def pareto(records: Sequence[Record], path: str | Path) -> None:
    """Forgetting against utility, once as Mem. and once as Priv.; the area of a mark grows with log FLOPs.

    The mark is hollow if they were not counted.
    """
    some = [record for record in records if record.get("utility") is not None]
    areas = _areas(some)

    def counted(record: Record) -> bool:
        return bool(record.get("flops")) or record["family"] == "baseline"

    figure, axes = grid(1, 2, width=14.0, height=0.18 * len(some) + 3.4)
    left = min(0.9, *(record["utility"] for record in some)) - 0.06
    for axis, key, label in zip(axes, ("memorization", "privacy"), ("Mem.", "Priv."), strict=True):
        for family, color in FAMILIES.items():
            chosen = [place for place, record in enumerate(some) if record["family"] == family]
            if chosen:
                faces = [(color, 0.55 if counted(some[place]) else 0.0) for place in chosen]
                axis.scatter(
                    [some[place]["utility"] for place in chosen],
                    [some[place][key] for place in chosen],
                    s=[areas[place] for place in chosen],
                    facecolors=faces,
                    edgecolors=["white" if alpha else color for _, alpha in faces],
                )
        axis.set(xlabel="Util. (1 is best)", ylabel=f"{label} (1 is best)", xlim=(left, 1.06), ylim=(-0.08, 1.1))
        axis.grid(alpha=0.25)
        _name(axis, [(record["utility"], record[key], record["title"], record["family"]) for record in some])
    hollow = "" if all(map(counted, some)) else "; hollow: not counted"
    axes[1].set_title(f"area: log FLOPs of one run{hollow}", fontsize=9, loc="left")
    shown = [family for family in FAMILIES if any(record["family"] == family for record in some)]
    marks = [axes[0].scatter([], [], s=80.0, color=FAMILIES[family], alpha=0.55) for family in shown]
    axes[0].legend(marks, shown, frameon=False, fontsize=9, ncols=4, loc="lower left", bbox_to_anchor=(-0.02, 1.0))
    save(figure, path)


def _areas(records: Sequence[Record]) -> list[float]:
    logs = [np.log10(record["flops"]) if record.get("flops") else None for record in records]
    known = [one for one in logs if one is not None]
    if not known:
        return [_SMALLEST] * len(records)
    low, span = min(known), max(max(known) - min(known), 1e-9)
    return [
        _SMALLEST if one is None else float(2 * _SMALLEST + (_LARGEST - 2 * _SMALLEST) * (one - low) / span)
        for one in logs
    ]


def _name(axis: Axes, points: Sequence[tuple[float, float, str, str]]) -> None:
    """Names in a column on the right, in the order of the marks, each with a line to its mark."""
    ordered = sorted(points, key=lambda point: point[1])
    for (x, y, name, family), height in zip(ordered, _apart([point[1] for point in ordered]), strict=True):
        axis.annotate(
            name,
            (x, y),
            xytext=(1.05, height),
            textcoords=axis.get_yaxis_transform(),
            fontsize=8,
            va="center",
            color=FAMILIES[family],
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": FAMILIES[family],
                "linewidth": 0.5,
                "alpha": 0.7,
                "shrinkA": 1,
                "relpos": (0, 0.5),
            },
        )


def _apart(heights: Sequence[float], low: float = -0.06, high: float = 1.08) -> list[float]:
    """Ascending heights, spread just enough for a minimum gap, within the limits."""
    gap = min(0.05, (high - low) / max(1, len(heights) - 1))
    found = list(heights)
    for place in range(len(found)):
        found[place] = max(found[place], found[place - 1] + gap if place else low)
    ceiling = high
    for place in reversed(range(len(found))):
        found[place] = min(found[place], ceiling)
        ceiling = found[place] - gap
    return found
