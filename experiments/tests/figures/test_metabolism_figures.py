"""What the pictures of the metabolism bench show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drawn import bars, image, legend, lines, points, ticks, titles

from mnemotomy_bench.figures.metabolism import (
    attention_bars,
    attention_maps,
    gradients_by_block,
    probes_by_layer,
    states_in_the_plane,
)


def test_probes_by_layer_in_percent(tmp_path: Path, figures: list[Any]) -> None:
    def record(name: str, read: float) -> dict[str, Any]:
        layers = [
            {"layer": layer, "linear": read * layer, "two_layer": 1 - read * layer, "chance": 0.25} for layer in (0, 1)
        ]
        return {"configuration": name, "layers": layers}

    probes_by_layer([record("A", 0.5), record("B", 1.0)], tmp_path / "probes.png")
    linear, deep = figures[0].axes
    assert titles(figures[0]) == ["linear probe, fitted after training", "two-layer probe, fitted after training"]
    assert lines(linear) == {"A": [0, 50], "B": [0, 100]}
    assert lines(deep) == {"A": [100, 50], "B": [100, 0]}
    assert list(linear.get_lines()[-1].get_ydata()) == [25, 25]  # chance
    assert legend(deep) == ["A", "B"]


def test_states_by_country_and_fruits_apart(tmp_path: Path, figures: list[Any]) -> None:
    panel = {
        "points": [[0, 1], [2, 3], [4, 5]], "kind": ["city", "fruit", "city"], "answer": ["Japan", "red", "France"],
        "identity": 0.5,
    }  # fmt: skip
    states_in_the_plane({"A": panel, "B": panel, "C": panel, "D": panel}, tmp_path / "states.png")
    assert titles(figures[0]) == ["A", "B", "C", "D"]
    first = figures[0].axes[0]
    assert points(first) == [[[2, 3]], [[0, 1], [4, 5]]]
    assert first.collections[1].get_array().tolist() == [1, 0]  # France before Japan
    assert first.get_xlabel() == "nearest neighbour has the same country: 50 %"
    assert legend(figures[0]) == ["questions about fruits", "questions about cities, one colour per country"]


def test_attention_by_configuration(tmp_path: Path, figures: list[Any]) -> None:
    records = [
        {"configuration": "A", "attention_entropy": 1.5, "attention_entropy_spread": 0.25, "evidence_weight": 0.5},
        {"configuration": "B", "attention_entropy": 2.0, "evidence_weight": 0.75},
    ]
    attention_bars(records, tmp_path / "attention.png")
    entropy, weight = figures[0].axes
    assert titles(figures[0]) == ["entropy of attention (nats) at l*", "weight on the evidence at l*"]
    assert (bars(entropy), bars(weight)) == ([[1.5, 2.0]], [[0.5, 0.75]])
    assert ticks(entropy, "y") == ["A", "B"]
    assert entropy.yaxis_inverted()
    [spreads] = [one for one in entropy.collections if one.get_segments()]
    assert spreads.get_segments()[0].tolist() == [[1.25, 0], [1.75, 0]]


def test_attention_maps_with_the_evidence_in_bold(tmp_path: Path, figures: list[Any]) -> None:
    panel = {"tokens": ["Kyoto", "ĠJapan"], "weights": [[0.25, 0.75], [1.0, 0.0]], "answer": "Japan"}
    attention_maps({"A": panel, "B": panel}, tmp_path / "map.png")
    first, second, bar = figures[0].axes
    assert titles(figures[0]) == ["A", "B"]
    assert image(first).tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert ticks(second) == ["Kyoto", "ĠJapan"]
    assert [label.get_fontweight() for label in second.get_xticklabels()] == ["normal", "bold"]
    assert bar.get_ylabel() == "attention weight"


def test_cosines_by_block(tmp_path: Path, figures: list[Any]) -> None:
    blocks = [{"block": "0", "cosine": 0.25}, {"block": "head", "cosine": -0.5}]
    gradients_by_block({"A": {"blocks": blocks}}, tmp_path / "gradients.png")
    [axis] = figures[0].axes
    assert lines(axis) == {"A": pytest.approx([0.25, -0.5])}
    assert ticks(axis) == ["0", "head"]
    assert axis.get_ylabel() == "cosine"
