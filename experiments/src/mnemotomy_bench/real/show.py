"""The table of ``bench real``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mnemotomy.report.table import Table
from mnemotomy_bench.lab.table import Column, percent, table

COLUMNS = {
    "target": Column("target", percent, "↓"),
    "target_heldout": Column("held-out phrasings", percent, "↓"),
    "seen_heldout": Column("other cities", percent, "↑"),
    "unseen": Column("unseen cities", percent, "↑"),
    "unseen_heldout": Column("unseen, held-out", percent, "↑"),
    "other_relations": Column("other relations", percent, "↑"),
    "context": Column("context", percent, "↑"),
    "counterfactual": Column("counterfactual context", percent, "↑"),
    "perplexity": Column("perplexity", "{:.2f}".format, "↓"),
    "seconds": Column("seconds", "{:.0f}".format),
}


def tables_of(records: Sequence[Mapping[str, Any]]) -> list[Table]:
    """One table per request, with every edit; of several seeds, one after the other."""
    found = []
    for name in dict.fromkeys((row["request"], row["seed"]) for row in records):
        rows = [row for row in records if (row["request"], row["seed"]) == name]
        caption = f"{name[0]}, {rows[0]['facts']} facts, seed {name[1]} (% of prompts)"
        found.append(table(rows, COLUMNS, name="edit", head="edit", caption=caption))
    return found


def markdown_of(records: Sequence[Mapping[str, Any]]) -> str:
    """The tables for a page, each under its caption, with what the search chose."""
    parts = [f"**{one.caption}**\n\n{one.markdown()}\n" for one in tables_of(records)]
    chosen = [f"- {row['request']}, seed {row['seed']}: {row['chosen']}" for row in records if "chosen" in row]
    return "\n".join([*parts, "What the search chose:", "", *chosen, ""])
