"""The files that the TOFU bench writes: tables in Markdown, figures, records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnemotomy.core.files import write_text
from mnemotomy_bench.figures.tofu import pareto, sweep_curves, weight_norm_heatmap
from mnemotomy_bench.tofu.records import TofuRecord
from mnemotomy_bench.tofu.run import BASELINES
from mnemotomy_bench.tofu.table import TABLES, Record, keys_of, table_of

TITLES = {
    "strengths": "strength α",
    "cuts": "spectral cut, relative to λmax",
    "filters": "functions of μ",
    "variants": "rounds, and embedding rows",
    "kinds": "kinds of projection",
    "blocks": "block",
    "instantiations": "instantiations",
}
OF_RUN = ("3", "4", "6", "7", "attacks")
OF_SWEEP = {"kinds": "8", "blocks": "8", "instantiations": "9"}


def joined(new: Sequence[TofuRecord], old: Sequence[TofuRecord]) -> list[TofuRecord]:
    """The records of a run of some methods, and those of others from an earlier run on the same pair.

    The pair's own models come first, then methods in the order of the registry.
    """
    from mnemotomy.methods.registry import methods

    found = {one["method"]: one for one in [*old, *new]}
    order = [*BASELINES, *methods("language models")]
    return sorted(found.values(), key=lambda one: order.index(one["method"]) if one["method"] in order else len(order))


def write_tables(records: Sequence[Record], out_dir: Path) -> None:
    """``table-<name>.md`` for every table that the records have numbers for."""
    for name in OF_RUN:
        sheet = TABLES[name]
        if keys_of(sheet, [record for record in records if sheet.shows(record)]):
            _write(records, name, out_dir / f"table-{name}.md")


def write_sweep(records: Sequence[Record], out_dir: Path) -> None:
    """``sweep-<name>.md`` and, where there is more than one setting, ``sweep-<name>.png``."""
    name = records[0]["sweep"]
    _write(records, OF_SWEEP.get(name, "sweep"), out_dir / f"sweep-{name}.md")
    if sum(record.get("overall") is not None for record in records) > 1:
        sweep_curves(records, TITLES[name], out_dir / f"sweep-{name}.png")


def write_references(records: Sequence[Record], out_dir: Path) -> None:
    """``table-reference.md``."""
    _write(records, "reference", out_dir / "table-reference.md")


def write_figures(records: Sequence[Record], norms: Sequence[Mapping[str, Any]], out_dir: Path) -> None:
    """``pareto.png`` and ``weight-norms.png``, each where there is something to show."""
    if any(record.get("utility") is not None for record in records):
        pareto(records, out_dir / "pareto.png")
    if norms:
        weight_norm_heatmap(norms, out_dir / "weight-norms.png")


def _write(records: Sequence[Record], name: str, path: Path) -> None:
    table = table_of(records, name)
    write_text(path, f"{table.caption}\n\n{table.markdown()}\n")
