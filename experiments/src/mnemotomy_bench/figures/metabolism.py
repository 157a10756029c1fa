"""Figures of the metabolism bench: probes by layer, states in the plane, attention, gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnemotomy.report.figures import ACCENT, SECOND, grid, save

MARKS = "os^Dv"


def probes_by_layer(records: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Accuracy of fresh probes by layer, one line per configuration, linear and two-layer side by side."""
    from matplotlib import colormaps

    figure, axes = grid(1, 2, width=11.0, height=4.0)
    for axis, key, title in zip(axes, ("linear", "two_layer"), ("linear probe", "two-layer probe"), strict=True):
        for number, record in enumerate(records):
            layers = record["layers"]
            axis.plot(
                [one["layer"] for one in layers],
                [100 * one[key] for one in layers],
                marker=MARKS[number % len(MARKS)],
                markersize=4,
                linewidth=1.2,
                color=colormaps["tab20"](number % 20),
                label=record["configuration"],
            )
        axis.axhline(100 * records[0]["layers"][0]["chance"], color="#888", linestyle=":", linewidth=1)
        axis.set(title=f"{title}, fitted after training", xlabel="layer", ylabel="read correctly (%)", ylim=(-3, 103))
        axis.grid(axis="y", alpha=0.25)
        last = records[0]["layers"][-1]
        axis.annotate("chance", (last["layer"], 100 * last["chance"]), xytext=(0, -11), ha="right",
                      textcoords="offset points", fontsize=8, color="#666")  # fmt: skip
    axes[1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save(figure, path)


def states_in_the_plane(panels: Mapping[str, Mapping[str, Any]], path: str | Path) -> None:
    """t-SNE of hidden states at l*: cities coloured by country, fruits in grey (Fig. 1, 2)."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = grid(rows, columns, width=3.4 * columns, height=3.6 * rows + 0.4)
    for axis, (title, panel) in zip(axes, panels.items(), strict=False):
        points, kinds = np.array(panel["points"]), np.array(panel["kind"])
        answers = sorted({a for a, k in zip(panel["answer"], panel["kind"], strict=True) if k == "city"})
        colors = np.array([answers.index(a) if a in answers else -1 for a in panel["answer"]])
        fruit = kinds == "fruit"
        axis.scatter(
            points[fruit, 0],
            points[fruit, 1],
            s=14,
            c="#b9bcc4",
            marker="x",
            linewidths=0.8,
            label="questions about fruits",
        )
        axis.scatter(
            points[~fruit, 0],
            points[~fruit, 1],
            s=14,
            c=colors[~fruit],
            cmap="tab20",
            label="questions about cities, one colour per country",
        )
        axis.set(title=title, xticks=[], yticks=[])
        axis.set_xlabel(f"nearest neighbour has the same country: {100 * panel['identity']:.0f} %", fontsize=9)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    save(figure, path)


def attention_bars(records: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Entropy of attention and its weight on the evidence at l*, by configuration (Fig. 3, 4)."""
    figure, axes = grid(1, 2, width=10.0, height=0.34 * len(records) + 1.4)
    names = [record["configuration"] for record in records]
    for axis, key, title, color in zip(
        axes,
        ("attention_entropy", "evidence_weight"),
        ("entropy of attention (nats)", "weight on the evidence"),
        (SECOND, ACCENT),
        strict=True,
    ):
        values = [record[key] for record in records]
        spreads = [record.get(f"{key}_spread") or 0.0 for record in records]
        axis.barh(range(len(names)), values, xerr=spreads, color=color, height=0.7, error_kw={"linewidth": 0.8})
        axis.set_yticks(range(len(names)), names if axis is axes[0] else [""] * len(names))
        axis.invert_yaxis()
        axis.set(title=f"{title} at l*")
        axis.grid(axis="x", alpha=0.25)
    save(figure, path)


def attention_maps(panels: Mapping[str, Mapping[str, Any]], path: str | Path) -> None:
    """Where each head looks from the prediction step: tokens across, heads down, a panel per configuration (Fig. 3)."""
    tokens = next(iter(panels.values()))["tokens"]
    figure, axes = grid(len(panels), 1, width=0.5 * len(tokens) + 2.0, height=1.6 * len(panels) + 0.9)
    for axis, (title, panel) in zip(axes, panels.items(), strict=True):
        image = axis.imshow(np.array(panel["weights"]), cmap="GnBu", vmin=0.0, vmax=1.0, aspect="auto")
        axis.set(title=title, ylabel="head", yticks=[])
        axis.set_xticks([])
    axes[-1].set_xticks(range(len(tokens)), tokens, rotation=45, ha="right", rotation_mode="anchor")
    for label in axes[-1].get_xticklabels():
        if label.get_text().strip("Ġ ▁") == next(iter(panels.values()))["answer"]:  # the evidence
            label.set(color=SECOND, fontweight="bold")
    figure.colorbar(image, ax=axes, shrink=0.4, label="attention weight")
    save(figure, path)


def gradients_by_block(reports: Mapping[str, Mapping[str, Any]], path: str | Path) -> None:
    """The cosine between the gradients of the fact and the logic loss, block by block (Assumption 3.1)."""
    figure, (axis,) = grid(1, 1, width=6.4, height=3.6)
    for number, (name, report) in enumerate(reports.items()):
        blocks = report["blocks"]
        axis.plot(range(len(blocks)), [one["cosine"] for one in blocks], marker=MARKS[number % len(MARKS)], alpha=0.8,
                  label=name)  # fmt: skip
        axis.set_xticks(range(len(blocks)), [str(one["block"]) for one in blocks], rotation=30, ha="right")
    axis.axhline(0.0, color="#888", linewidth=0.8)
    axis.set(xlabel="block", ylabel="cosine", title="gradients of the fact and logic losses")
    axis.legend(frameon=False, fontsize=8)
    save(figure, path)
