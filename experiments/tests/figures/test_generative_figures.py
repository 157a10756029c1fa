"""What the pictures of digits and of faces show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import bars, image, legend, lines, texts, ticks, titles
from PIL import Image

from mnemotomy_bench.figures.faces import arithmetic_grid, reading_curves, slider_grid
from mnemotomy_bench.figures.generative import error_bars, error_matrices, reconstruction_grid

FACES = torch.linspace(0, 1, 2 * 4 * 3 * 8 * 8).reshape(2, 4, 3, 8, 8)


def test_reconstructions_stand_in_rows_and_the_erased_digit_is_framed(tmp_path: Path, figures: list[Any]) -> None:
    rows = {"image": torch.full((3, 8, 8), 40, dtype=torch.uint8), "without 1": torch.zeros(3, 8, 8, dtype=torch.uint8)}
    rows["without 1"][2] = 90
    reconstruction_grid({"Engram": rows, "Other": rows}, {"without 1": 1}, tmp_path / "grid.png")
    assert titles(figures[0]) == ["Engram", "Other"]
    axis = figures[0].axes[0]
    assert ticks(axis, "y") == ["image", "without 1"]
    sheet = image(axis)
    assert sheet.shape == (19, 28)  # 2 rows and 3 columns of 8 pixels, with a gap of 1
    assert (sheet[1:9, 1:9] == 40).all()
    assert (sheet[10:18, 19:27] == 90).all()
    assert (sheet[0] == 255).all()
    [frame] = axis.patches
    assert (frame.get_xy(), frame.get_width()) == ((9.5, 9.5), 9)  # around the second column of the second row


def test_errors_are_multiples_of_the_originals(tmp_path: Path, figures: list[Any]) -> None:
    error_matrices([0.5, 2.0], {"Engram": [[5.0, 2.0], [0.5, 25.0]]}, ["a", "b"], tmp_path / "matrices.png")
    axis, bar = figures[0].axes
    assert image(axis).tolist() == [[10, 1], [1, 12.5]]
    assert texts(axis) == ["10", "1.0", "1.0", "12"]
    assert (axis.get_title(), axis.get_xlabel(), axis.get_ylabel()) == ("Engram", "reconstructed", "erased")
    assert ticks(axis) == ticks(axis, "y") == ["a", "b"]
    assert bar.get_ylabel() == "error relative to the original"


def test_bars_of_errors_with_the_level_that_counts_as_erased(tmp_path: Path, figures: list[Any]) -> None:
    records = [{"title": "Original", "errors": [0.001, 0.002]}, {"title": "Engram", "errors": [0.01, 0.003]}]
    error_bars(records, 1, ["zero", "one"], tmp_path / "errors.png", erased_at=0.02)
    [axis] = figures[0].axes
    assert bars(axis) == [pytest.approx([1, 2]), pytest.approx([10, 3])]
    assert lines(axis) == {"mean image of the other digits": [20, 20]}
    assert list(axis.get_lines()[0].get_xdata()) == [0.54, 1.46]  # over the digit that was forgotten
    assert axis.get_xlabel() == "reconstructed digit (one forgotten)"


def test_sliders_have_a_column_per_strength(tmp_path: Path, figures: list[Any]) -> None:
    slider_grid({"hat": FACES, "Wearing_Hat": FACES, "c": FACES}, (-2 / 3, 0.0, 1.0), tmp_path / "sliders.png")
    assert titles(figures[0]) == ["hat: μ − α μ⁺", "wearing hat: μ − α μ⁺", "c: μ − α μ⁺"]
    first, _, _, absent = figures[0].axes
    assert not absent.axison
    assert ticks(first) == ["face", "−2/3", "0", "1"]
    shown = image(first)
    assert shown.shape == (18, 36, 3)  # two faces down, four across, a white line after each
    np.testing.assert_allclose(shown[9:17, 18:26], FACES[1, 2].permute(1, 2, 0), atol=1e-6)
    assert (shown[8] == 1).all()
    with Image.open(tmp_path / "sliders.png") as picture:
        assert (picture.format, picture.mode) == ("PNG", "P")  # 256 colours


def test_where_the_truth_is_known_it_stands_behind_the_face(tmp_path: Path, figures: list[Any]) -> None:
    slider_grid({"hat": FACES}, (0.0, 1.0), tmp_path / "sliders.png")
    assert ticks(figures[0].axes[0]) == ["face", "truth", "0", "1"]


def test_sums_of_engrams_have_a_line_for_each_term(tmp_path: Path, figures: list[Any]) -> None:
    arithmetic_grid(FACES, ["face", "μ", "μ + Hat_On − bangs", "μ − hat + bangs"], tmp_path / "arithmetic.png")
    [axis] = figures[0].axes
    assert ticks(axis) == ["face", "μ", "μ\n+ hat on\n− bangs", "μ\n− hat\n+ bangs"]
    np.testing.assert_allclose(image(axis)[:8, 27:35], FACES[0, 3].permute(1, 2, 0), atol=1e-6)


def test_readings_against_the_strength(tmp_path: Path, figures: list[Any]) -> None:
    readings = {"Big_Hat": [0.9, 0.8, 0.1], "bangs": [0.5, 0.5, 0.4]}
    curves = {"Big_Hat": {"probability": readings}, "bangs": {"probability": readings}}
    records = [{"title": "Engram", "curves": curves}, {"title": "Other", "curves": curves}]
    reading_curves(records, ["Big_Hat", "bangs"], (-2 / 3, 0.0, 1.0), tmp_path / "curves.png")
    hat, bangs, *below = figures[0].axes
    assert (hat.get_title(), bangs.get_title()) == ("erasing big hat", "erasing bangs")
    assert lines(hat) == {"big hat": [0.9, 0.8, 0.1], "bangs": [0.5, 0.5, 0.4]}
    assert [line.get_linewidth() for line in hat.get_lines()[:2]] == [2.2, 1.0]  # what is taken out is thick
    assert [line.get_linewidth() for line in bangs.get_lines()[:2]] == [1.0, 2.2]
    assert hat.get_ylabel() == "Engram\nprobability"
    assert below[0].get_ylabel() == "Other\nprobability"
    assert ticks(below[0]) == ["−2/3", "0", "1"]
    assert legend(figures[0]) == ["big hat", "bangs"]
