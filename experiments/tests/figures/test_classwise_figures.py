"""What the pictures of the class-wise bench show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drawn import bars, image, legend, points, texts, ticks, titles

from mnemotomy_bench.figures.classwise import cka_scatter, cost_bars, degradation_scatter, spectra_panels


def test_cka_stands_against_two_models_and_the_right_panel_is_near(tmp_path: Path, figures: list[Any]) -> None:
    records = [
        {
            "method": "engram",
            "title": "Engram",
            "cka_original": 0.9,
            "cka_retrained": 0.95,
            "cka_original_spread": 0.02,
        },
        {"method": "neggrad", "title": "NegGrad", "cka_original": 0.2, "cka_retrained": 0.1},
        {"method": "retrain", "title": "Retrain", "cka_original": 0.85, "cka_retrained": 1.0},
    ]
    cka_scatter(records, tmp_path / "cka.png")
    whole, near = figures[0].axes
    assert legend(near) == ["Engram", "NegGrad", "Retrain"]
    for axis in (whole, near):
        marks = [container[0].get_xydata().tolist() for container in axis.containers]
        assert marks == [[[0.9, 0.95]], [[0.2, 0.1]], [[0.85, 1.0]]]
        assert (axis.get_xlabel(), axis.get_ylabel()) == ("CKA to the original model", "CKA to the retrained model")
    low, high = near.get_xlim()
    assert 0.8 < low < 0.85
    assert 0.92 < high < 0.95
    assert 0.9 < near.get_ylim()[0] < 0.95
    assert whole.get_xlim()[0] < 0.2


def test_degradation_is_in_points_by_superclass(tmp_path: Path, figures: list[Any]) -> None:
    def point(cosine: float, drop: float, same: bool | None) -> dict[str, Any]:
        return {"cosine": cosine, "drop": drop, "same_superclass": same}

    found = {
        "paper": {
            "points": [point(0.5, 0.25, True), point(0.25, 0.5, False)],
            "rank_correlation": {"all": {"rho": 0.7, "low": -0.001, "high": 0.9}},
        },
        "chosen": {"points": [point(0.5, 0.0, True)], "rank_correlation": {"all": None}},
    }
    degradation_scatter(found, tmp_path / "degradation.png")
    first, second = figures[0].axes
    assert titles(figures[0]) == ["paper: ρ = 0.70 [0.00, 0.90]", "chosen: no variation"]
    assert points(first) == [[[0.5, 25]], [[0.25, 50]]]
    assert points(second) == [[[0.5, 0]]]
    assert first.get_legend_handles_labels()[1] == ["same superclass", "different superclass"]


def test_spectra_of_a_few_sites_over_their_overlaps(tmp_path: Path, figures: list[Any]) -> None:
    def site(number: int) -> dict[str, Any]:
        return {
            "site": f"layer{number}", "mu": [[1.0, 0.5], [0.25, 0.0]], "mu_rank": [0.5, 1.0], "share": [0.1, 0.3],
            "rank": 2, "dimensions": 3, "overlap": [[1.0, 0.1 * number], [0.1 * number, 1.0]],
            "overlap_mean": 0.1 * number,
        }  # fmt: skip

    spectra_panels([site(number) for number in range(7)], ["cat", "dog"], tmp_path / "spectra.png")
    above, below = figures[0].axes[:4], figures[0].axes[4:8]
    assert titles(figures[0])[:4] == [f"layer{number}\nrank 2 of 3" for number in (0, 2, 4, 6)]
    assert titles(figures[0])[4:8] == [f"overlap, mean {0.1 * number:.2f}" for number in (0, 2, 4, 6)]
    for axis, number in zip(above, (0, 2, 4, 6), strict=True):
        cat, dog, share = axis.get_lines()
        assert (cat.get_label(), cat.get_xydata().tolist()) == ("cat", [[0.5, 1.0], [1.0, 0.5]])
        assert (dog.get_label(), list(dog.get_ydata())) == ("dog", [0.25, 0.0])
        assert share.get_ydata() == pytest.approx([0.2, 0.2]), number
    assert image(below[2]).tolist() == [[1.0, 0.4], [0.4, 1.0]]
    assert ticks(below[0]) == ticks(below[0], "y") == ["cat", "dog"]


def test_the_cost_of_all_classes_is_logarithmic(tmp_path: Path, figures: list[Any]) -> None:
    extraction = {"seconds": 0.5, "classes": 10}
    cost_bars({"extraction": extraction, "baselines": {"neggrad": {"seconds_per_class": 100.0}}}, tmp_path / "cost.png")
    [axis] = figures[0].axes
    assert bars(axis) == [[0.5, 1000.0]]
    assert ticks(axis, "y") == ["engrams of all classes", "neggrad"]
    assert texts(axis) == [" 0.5", " 1,000"]
    assert axis.get_xscale() == "log"
    assert axis.yaxis_inverted()
    assert axis.get_xlabel() == "seconds for 10 classes"
