"""The files that the generative bench writes: tables in Markdown, and figures by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from mnemotomy.core.files import write_text
from mnemotomy_bench.figures.generative import error_bars, error_matrices, reconstruction_grid
from mnemotomy_bench.generative.autoencoder import Subject
from mnemotomy_bench.generative.baselines import ORIGINAL, RETRAIN
from mnemotomy_bench.generative.cases import Case
from mnemotomy_bench.generative.digit_cells import baseline_cell, method_cell
from mnemotomy_bench.generative.erasing import ERASURES
from mnemotomy_bench.generative.observing import unpacked
from mnemotomy_bench.generative.table import markdown

SHOWN = ("engram", "engram-automatic")
"""Methods whose reconstructions are drawn."""
ERASED = 4
"""How many digits are erased in the grid of reconstructions, the one to forget first."""


def write_tables(records: Sequence[Mapping[str, Any]], out_dir: Path) -> None:
    """``<case>.md`` for every case."""
    for name in dict.fromkeys(record["case"] for record in records):
        some = [record for record in records if record["case"] == name]
        write_text(out_dir / f"{name}.md", markdown(some) + "\n")


def write_digit_figures(
    records: Sequence[Mapping[str, Any]], out_dir: Path, case: Case, data: Path | None = None
) -> list[Path]:
    """``<case>-reconstructions.png`` of the first seed, ``-matrices.png`` and ``-errors.png`` of the mean over seeds.

    Args:
        records: of every method of the case.
        out_dir: where the cells and models are, and where figures go.
        case: of the records.
        data: as for ``run_generative``.
    """
    by_name = {record["method"]: record for record in records if record["case"] == case.name}
    subject = Subject(case, case.seeds[0], out_dir / "models", data)
    classes, before = subject.class_names, by_name[ORIGINAL]["by_class"][0]
    paths = {what: out_dir / f"{case.name}-{what}.png" for what in ("reconstructions", "matrices", "errors")}
    digits = _shown_digits(case.forget, len(classes))
    panels = {by_name[name]["title"]: _rows(out_dir, subject, name, digits) for name in SHOWN}
    erased = {f"without {classes[digit]}": digit for digit in digits}
    reconstruction_grid(panels, erased, paths["reconstructions"])
    whole = [one for one in by_name.values() if len(one["digits"]) == len(classes) and one["by_class"]]
    chosen = [one for one in whole if one["method"] in ("neggrad", *SHOWN)]
    error_matrices(before, {one["title"]: one["by_class"] for one in chosen}, classes, paths["matrices"])
    error_bars(
        _bars(by_name, case.forget), case.forget, classes, paths["errors"],
        baseline_cell(out_dir, subject)["erased_at"][case.forget],
    )  # fmt: skip
    return list(paths.values())


def _rows(out_dir: Path, subject: Subject, name: str, digits: Sequence[int]) -> dict[str, Tensor]:
    """Images by row: the test images, and reconstructions by the original and by the network without each digit."""
    side, baselines = subject.original.side, baseline_cell(out_dir, subject)
    rows = {"image": baselines["images"], "original": baselines[ORIGINAL]["pixels"]}
    for digit in digits:
        cell = method_cell(out_dir, subject, ERASURES[name], digit)
        rows[f"without {subject.class_names[digit]}"] = cell["pixels"]
    return {title: unpacked(pixels, side) for title, pixels in rows.items()}


def _shown_digits(forget: int, classes: int) -> list[int]:
    """The digit to forget, and others at even steps from it."""
    step = max(1, classes // ERASED)
    return [(forget + step * number) % classes for number in range(min(ERASED, classes))]


def _bars(by_name: Mapping[str, Mapping[str, Any]], digit: int) -> list[Mapping[str, Any]]:
    """The errors on every class of the methods compared with the engram, if they have them."""
    shown = [by_name[name] for name in (ORIGINAL, RETRAIN, "neggrad-plus", *SHOWN) if name in by_name]
    return [
        {"title": one["title"], "errors": one["by_class"][one["digits"].index(digit)]}
        for one in shown
        if one["by_class"]
    ]
