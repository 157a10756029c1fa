"""What the pictures of the bench on TOFU show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import bars, image, legend, lines, points, texts, ticks

from mnemotomy_bench.figures.tofu import pareto, sweep_curves, weight_norm_heatmap


def test_weight_norms_with_what_is_in_no_block_last(tmp_path: Path, figures: list[Any]) -> None:
    rows = [
        {"layer": None, "kind": "lm_head", "weight_norm": 0.5},
        {"layer": 1, "kind": "q_proj", "weight_norm": 0.25},
        {"layer": 0, "kind": "q_proj", "weight_norm": 1.0},
    ]
    weight_norm_heatmap(rows, tmp_path / "norms.png")
    axis = figures[0].axes[0]
    assert (ticks(axis), ticks(axis, "y")) == (["lm_head", "q_proj"], ["0", "1", "–"])
    shown = np.ma.masked_invalid(image(axis)).filled(-1).tolist()
    assert shown == [[-1, 1.0], [-1, 0.25], [0.5, -1]]
    assert texts(axis) == ["1.00", "0.25", "0.50"]


def record(value: Any, overall: float | None, **more: Any) -> dict[str, Any]:
    scores = dict.fromkeys(("memorization", "utility", "privacy"), None if overall is None else overall / 2)
    return {"value": value, "overall": overall, "title": f"value {value}", **scores, **more}


def test_a_sweep_of_numbers_is_curves_without_what_broke(tmp_path: Path, figures: list[Any]) -> None:
    sweep_curves([record(0.01, 0.5), record(1.0, 1.0), record(9.0, None)], "strength", tmp_path / "curves.png")
    [axis] = figures[0].axes
    assert lines(axis) == {"Overall": [0.5, 1.0], "Mem.": [0.25, 0.5], "Util.": [0.25, 0.5], "Priv.": [0.25, 0.5]}
    assert axis.get_xscale() == "log"
    assert axis.get_xlabel() == "strength"
    sweep_curves([record(0.5, 0.5), record(1.0, 1.0)], "strength", tmp_path / "near.png")
    assert figures[1].axes[0].get_xscale() == "linear"


def test_a_sweep_of_names_is_bars(tmp_path: Path, figures: list[Any]) -> None:
    sweep_curves([record(None, 0.5), record(None, 1.0)], "kinds", tmp_path / "bars.png")
    [axis] = figures[0].axes
    assert bars(axis) == [[0.5, 1.0], [0.25, 0.5], [0.25, 0.5], [0.25, 0.5]]
    assert ticks(axis, "y") == ["value None"] * 2
    assert legend(axis) == ["Overall", "Mem.", "Util.", "Priv."]


def test_forgetting_against_utility_by_family_and_cost(tmp_path: Path, figures: list[Any]) -> None:
    records = [
        {"title": "Full", "family": "baseline", "utility": 1.0, "memorization": 0.0, "privacy": 0.25},
        {"title": "NPO", "family": "gradient", "utility": 0.5, "memorization": 0.75, "privacy": 0.5, "flops": 1e12},
        {
            "title": "Engram",
            "family": "closed form",
            "utility": 0.75,
            "memorization": 0.5,
            "privacy": 0.5,
            "flops": 1e9,
        },
        {"title": "UCE", "family": "closed form", "utility": 0.625, "memorization": 0.25, "privacy": 0.5},
        {"title": "broken", "family": "gradient", "utility": None, "memorization": None, "privacy": None},
    ]
    pareto(records, tmp_path / "pareto.png")
    memory, privacy = figures[0].axes
    assert points(memory) == [[[0.75, 0.5], [0.625, 0.25]], [[0.5, 0.75]], [[1.0, 0.0]]]  # by family
    assert points(privacy)[1] == [[0.5, 0.5]]
    closed, gradient, _ = (one for one in memory.collections if len(one.get_offsets()))
    assert gradient.get_sizes()[0] == 900
    assert closed.get_sizes().tolist() == pytest.approx([80, 40])
    assert [face[3] for face in closed.get_facecolors()] == [0.55, 0.0]  # hollow: not counted
    assert sorted(texts(memory)) == ["Engram", "Full", "NPO", "UCE"]
    assert (memory.get_ylabel(), privacy.get_ylabel()) == ("Mem. (1 is best)", "Priv. (1 is best)")
    assert privacy.get_title(loc="left") == "area: log FLOPs of one run; hollow: not counted"
    assert legend(memory) == ["closed form", "gradient", "baseline"]
    lowest, *_, highest = sorted(memory.texts, key=lambda text: text.xyann[1])
    assert (lowest.get_text(), highest.get_text()) == ("Full", "NPO")  # names in the order of their marks
