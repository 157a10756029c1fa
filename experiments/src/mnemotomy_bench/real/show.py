"""The tables and the figure of ``bench real``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnemotomy.report.figures import grid, save
from mnemotomy.report.table import Table
from mnemotomy_bench.lab.seeds import over_seeds
from mnemotomy_bench.lab.table import Column, in_units_of, percent, table
from mnemotomy_bench.real.run import BEFORE, RULE

COLUMNS = {
    "target": Column("target", percent, "↓"),
    "target_heldout": Column("target, held-out phrasings", percent, "↓"),
    "seen_heldout": Column("retained facts", percent, "↑"),
    "unseen_heldout": Column("unseen facts", percent, "↑"),
    "other_relations": Column("other relations", percent, "↑"),
    "context": Column("context", percent, "↑"),
    "counterfactual": Column("counterfactual context", percent, "↑"),
    "perplexity": Column("perplexity", "{:.2f}".format, "↓"),
    "probe_best": Column("fresh probe, best block", percent, "↓"),
    "probe_last": Column("last block", percent, "↓"),
    "seconds": Column("processor seconds", "{:.0f}".format, "↓"),
    "operations": Column("operations, 10¹²", in_units_of(1e12), "↓"),
    "peak_bytes": Column("memory, MiB", in_units_of(2**20), "↓"),
}

_PROBED = ("probe_best", "probe_last")


def tables_of(records: Sequence[Mapping[str, Any]]) -> list[Table]:
    """One table for each model and entry of the plan, means over the seeds."""
    found = []
    for model, name in dict.fromkeys((row["model"], row["table"]) for row in records):
        rows = [row for row in records if (row["model"], row["table"]) == (model, name)]
        requests = "; ".join(dict.fromkeys(f"{row['request']}, seed {row['seed']}" for row in rows))
        found.append(table(_averaged(rows), _columns(rows), name="edit", head="edit", caption=f"{model}: {requests}"))
    return found


def _averaged(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each edit, and each number of requests."""
    groups: dict[tuple[str, int | None], list[dict[str, Any]]] = {}
    for row in rows:
        flat = dict(row)
        if "probe" in row:
            flat |= {"probe_best": max(row["probe"]), "probe_last": row["probe"][-1]}
        groups.setdefault((row["edit"], row.get("requests")), []).append(flat)
    return [
        {"edit": edit if count is None else f"{edit}, after {count}", **over_seeds(some, COLUMNS)}
        for (edit, count), some in groups.items()
    ]


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
    known = {key for row in rows for key in (*row, *(_PROBED if "probe" in row else ()))}
    return {key: one for key, one in COLUMNS.items() if key in known}


def markdown_of(records: Sequence[Mapping[str, Any]]) -> str:
    """The tables for a page, each under its caption, with what validation chose."""
    parts = [f"**{one.caption}**\n\n{one.markdown()}\n" for one in tables_of(records)]
    chosen = [
        f"- {row['model']}, {row['request']}, seed {row['seed']}: {row.get('chosen') or row['candidate']}"
        for row in records
        if row["edit"] == RULE or "chosen" in row
    ]
    return "\n".join([*parts, *(["Chosen by validation:", "", *chosen, ""] if chosen else [])])


def probes_by_block(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """What a fresh linear probe reads at every block, before and after the chosen edit; a panel for each table."""
    probed = [row for row in records if "probe" in row]
    panels = list(dict.fromkeys((row["model"], row["table"]) for row in probed))
    if not panels:
        return
    figure, axes = grid(1, len(panels), width=3.6 * len(panels), height=2.8)
    for axis, panel in zip(axes, panels, strict=True):
        for edit, colour in ((BEFORE, "#b9bcc4"), (RULE, "#0b6e6e")):
            own = [row for row in probed if (row["model"], row["table"], row["edit"]) == (*panel, edit)]
            for number, row in enumerate(own):
                shares = [100 * share for share in row["probe"]]
                axis.plot(row["blocks"], shares, color=colour, label=None if number else edit, linewidth=1.5)
        axis.set(
            title=", ".join(panel),
            xlabel="block",
            ylabel="read by a fresh probe (%)",
            ylim=(0, 125),
            yticks=range(0, 101, 20),
        )
        axis.legend(frameon=False, fontsize=8, loc="upper center", ncols=2)
    save(figure, path)
