"""The table and the figures of the metabolism bench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnemotomy.report.table import Table
from mnemotomy_bench.figures.metabolism import (
    attention_bars,
    attention_maps,
    gradients_by_block,
    probes_by_layer,
    states_in_the_plane,
)
from mnemotomy_bench.lab.table import Column, Columns, percent, table

Record = Mapping[str, Any]


def _plain(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 1000 else f"{value:.1e}"


COLUMNS: Columns = {
    "recall_train": Column("recall", percent),
    "recall_heldout": Column("recall, held out", percent),
    "context_train": Column("context", percent),
    "context_heldout": Column("context, held out", percent),
    "counterfactual_train": Column("counterfactual", percent),
    "counterfactual_heldout": Column("counterf., held out", percent),
    "other_facts": Column("other facts", percent),
    "reading": Column("reading, others", percent),
    "arithmetic": Column("arithmetic", percent),
    "perplexity": Column("perplexity", _plain),
    "adversarial_probe": Column("adversarial probe", percent),
    "fresh_linear": Column("fresh linear", percent),
    "fresh_two_layer": Column("fresh two-layer", percent),
    "fresh_shuffled": Column("shuffled labels", percent),
    "attention_entropy": Column("entropy", _plain),
    "evidence_weight": Column("evidence", _plain),
    "seconds": Column("seconds", _plain),
}

MORE: Columns = {
    "relations": Column("other relations", percent),
    "probe_loss": Column("its loss", _plain),
    "gradient_norm": Column("largest gradient", _plain),
    "evidence_weight_best_head": Column("evidence, best head", _plain),
}
"""What only pretrained models or only trained ones have."""


def table_of(records: Sequence[Record]) -> Table:
    """One row per configuration."""
    caption = "Facts removed from the weights (accuracies in %)"
    return table(records, COLUMNS, name="configuration", head="configuration", caption=caption)


def write_figures(records: Sequence[Record], mechanism: dict[str, Any], out_dir: Path) -> None:
    """PNG files in ``out_dir``; the mechanism's only if it was measured."""
    probes_by_layer(records, out_dir / "probes.png")
    attention_bars(records, out_dir / "attention.png")
    if mechanism:
        states_in_the_plane({name: one["tsne"] for name, one in mechanism.items()}, out_dir / "states.png")
        attention_maps({name: one["attention"] for name, one in mechanism.items()}, out_dir / "attention-map.png")
        gradients_by_block({name: one["gradients"] for name, one in mechanism.items()}, out_dir / "gradients.png")
