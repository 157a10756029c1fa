"""The files that the class-wise bench writes: tables in Markdown and figures, by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mnemotomy.core.files import write_text
from mnemotomy.report.figures import accuracy_heatmap, subset_curves
from mnemotomy_bench.classwise.analyses import Analyses
from mnemotomy_bench.classwise.matrices import CHOSEN, PAPER, RECALIBRATED
from mnemotomy_bench.classwise.table import Record, table_of
from mnemotomy_bench.figures.classwise import cka_scatter, cost_bars, degradation_scatter, spectra_panels

_SUBSETS = {PAPER: "subsets-paper", CHOSEN: "subsets", RECALIBRATED: "subsets-recalibrated"}


def write_tables(records: Sequence[Record], out_dir: Path) -> None:
    """``<case>.md`` for every case."""
    for name in dict.fromkeys(record["case"] for record in records):
        some = [record for record in records if record["case"] == name]
        write_text(out_dir / f"{name}.md", table_of(some).markdown() + "\n")


def write_figures(records: Sequence[Record], analyses: Mapping[str, Analyses], out_dir: Path) -> None:
    """PNG files ``<case>-<figure>.png`` in ``out_dir``."""
    for name, found in analyses.items():
        first = found["seeds"][0]

        def path(figure: str, name: str = name) -> Path:
            return out_dir / f"{name}-{figure}.png"

        some = [record for record in records if record["case"] == name and record["cka_original"] is not None]
        if some:
            cka_scatter(some, path("cka"))
        erased = first["matrices"]
        accuracy_heatmap(erased["matrices"], erased["classes"], path("matrices"), erased["before"])
        accuracy_heatmap(found["groups"]["matrices"], found["groups"]["groups"], path("groups"))
        for title, sizes in found.get("subsets", {"sizes": {}})["sizes"].items():
            subset_curves(sizes, path(_SUBSETS[title]))
        degradation_scatter(first["degradation"], path("degradation"))
        spectra_panels(found["spectra"], first["matrices"]["classes"], path("spectra"))
        if found.get("cost", {"baselines": {}})["baselines"]:
            cost_bars(found["cost"], path("cost"))
