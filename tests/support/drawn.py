"""What figures show, read from their axes before they are saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every figure that is saved from now on, in order; it is written all the same."""
    from matplotlib.figure import Figure

    saved: list[Any] = []
    save = Figure.savefig

    def kept(self: Figure, *arguments: Any, **options: Any) -> Any:
        saved.append(self)
        return save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", kept)
    return saved


def titles(figure: Any) -> list[str]:
    """Of the axes that show something; colour bars have none."""
    return [axis.get_title() for axis in figure.axes if axis.axison and axis.get_label() != "<colorbar>"]


def ticks(axis: Any, which: str = "x") -> list[str]:
    """The names at an axis."""
    return [label.get_text() for label in getattr(axis, f"get_{which}ticklabels")()]


def lines(axis: Any) -> dict[str, list[float]]:
    """The heights of every named line."""
    return {
        line.get_label(): [float(value) for value in line.get_ydata()]
        for line in axis.get_lines()
        if not line.get_label().startswith("_")
    }


def bars(axis: Any) -> list[list[float]]:
    """The lengths of every group of bars, in the order in which they were drawn."""
    return [[float(bar.get_width() if _lies(group) else bar.get_height()) for bar in group] for group in _groups(axis)]


def points(axis: Any) -> list[list[list[float]]]:
    """Where the marks of every scatter stand."""
    return [np.asarray(one.get_offsets()).tolist() for one in axis.collections if len(one.get_offsets())]


def image(axis: Any) -> np.ndarray[Any, Any]:
    """The values of the only picture."""
    [shown] = axis.get_images()
    return np.asarray(shown.get_array())


def texts(axis: Any) -> list[str]:
    """What is written inside."""
    return [text.get_text() for text in axis.texts]


def legend(figure_or_axis: Any) -> list[str]:
    """The names in the legends."""
    found: Sequence[Any] = getattr(figure_or_axis, "legends", None) or [figure_or_axis.get_legend()]
    return [text.get_text() for one in found for text in one.get_texts()]


def _groups(axis: Any) -> list[Any]:
    return [one for one in axis.containers if hasattr(one, "patches")]


def _lies(group: Any) -> bool:
    return bool(group.orientation == "horizontal")
