"""The metabolism bench for people: the table on the terminal, in Markdown, and the figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mnemotomy.report.terminal import print_table
from mnemotomy_bench.figures.metabolism import (
    attention_bars,
    attention_maps,
    gradients_by_block,
    probes_by_layer,
    states_in_the_plane,
)

Record = dict[str, Any]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _plain(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 1000 else f"{value:.1e}"


COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "recall_train": ("recall", _percent),
    "recall_heldout": ("recall, held out", _percent),
    "context_train": ("context", _percent),
    "context_heldout": ("context, held out", _percent),
    "counterfactual_train": ("counterfactual", _percent),
    "counterfactual_heldout": ("counterf., held out", _percent),
    "other_facts": ("other facts", _percent),
    "reading": ("reading, others", _percent),
    "arithmetic": ("arithmetic", _percent),
    "perplexity": ("perplexity", _plain),
    "adversarial_probe": ("adversarial probe", _percent),
    "fresh_linear": ("fresh linear", _percent),
    "fresh_two_layer": ("fresh two-layer", _percent),
    "fresh_shuffled": ("shuffled labels", _percent),
    "attention_entropy": ("entropy", _plain),
    "evidence_weight": ("evidence", _plain),
    "seconds": ("seconds", _plain),
}


def cells(record: Record) -> list[str]:
    """The numbers of one configuration as text, with their spread where there are several seeds."""
    found = []
    for key, (_, form) in COLUMNS.items():
        value, spread = record.get(key), record.get(f"{key}_spread")
        text = "–" if value is None else form(value)
        found.append(text if spread is None else f"{text} ± {form(spread)}")
    return found


def print_records(records: Sequence[Record], console: Console) -> None:
    """One row per configuration."""
    heads = ["configuration", *(title for title, _ in COLUMNS.values())]
    rows = [[record["configuration"], *cells(record)] for record in records]
    print_table(console, "Facts taken out of the weights (accuracies in %)", heads, rows)


def markdown(records: Sequence[Record], keys: Sequence[str]) -> str:
    """A table with a row per configuration and the columns ``keys``."""
    places = [list(COLUMNS).index(key) for key in keys]
    lines = ["| configuration | " + " | ".join(COLUMNS[key][0] for key in keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for record in records:
        texts = cells(record)
        lines.append(f"| {record['configuration']} | " + " | ".join(texts[place] for place in places) + " |")
    return "\n".join(lines)


def write_figures(records: Sequence[Record], mechanism: dict[str, Any], out_dir: Path) -> None:
    """PNG files in ``out_dir``; the mechanism's only where it was measured."""
    probes_by_layer(records, out_dir / "probes.png")
    attention_bars(records, out_dir / "attention.png")
    if mechanism:
        states_in_the_plane({name: one["tsne"] for name, one in mechanism.items()}, out_dir / "states.png")
        attention_maps({name: one["attention"] for name, one in mechanism.items()}, out_dir / "attention-map.png")
        gradients_by_block({name: one["gradients"] for name, one in mechanism.items()}, out_dir / "gradients.png")
