"""Figures of the class-wise bench: CKA to two models, degradation, spectra, and what methods cost."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnemotomy.report.figures import ACCENT, INK, SECOND, grid, save

MARKS = "os^DvP*X<>hpd8"
_LETTERS = {"two-sided": "$2$", "engram-recalibrated": "$R$"}
_SITES = 4  # panels of spectra
_NEAR = 0.8  # methods that ruin a network would otherwise squeeze all others into a corner


def cka_scatter(records: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """CKA to the original (x) against CKA to the retrained model (y), by method (Fig. 6): top left is ideal."""
    figure, axes = grid(1, 2, width=11.0, height=4.4)
    for axis in axes:
        marks = itertools.cycle(MARKS)
        for record in records:
            ours = record["method"].startswith(("engram", "two-sided"))
            baseline = record["method"] in ("original", "retrain")
            axis.errorbar(
                record["cka_original"],
                record["cka_retrained"],
                xerr=record.get("cka_original_spread"),
                yerr=record.get("cka_retrained_spread"),
                linestyle="none",
                marker=_LETTERS.get(record["method"]) or next(marks),
                color=INK if baseline else ACCENT if ours else SECOND,
                markersize=7,
                alpha=0.85,
                linewidth=0.8,
                label=record["title"],
            )
        axis.set(xlabel="CKA to the original model", ylabel="CKA to the retrained model")
        axis.grid(alpha=0.25)
    near = [one for one in records if min(one["cka_original"], one["cka_retrained"]) > _NEAR] or list(records)
    for key, limit in (("cka_original", axes[1].set_xlim), ("cka_retrained", axes[1].set_ylim)):
        reach = [(one[key], one.get(f"{key}_spread") or 0.0) for one in near]
        low, high = min(value - spread for value, spread in reach), max(value + spread for value, spread in reach)
        limit(low - 0.05 * (high - low) - 0.005, high + 0.05 * (high - low) + 0.005)
    axes[1].set(title="upper right corner of the left panel")
    axes[1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save(figure, path)


def degradation_scatter(found: Mapping[str, Mapping[str, Any]], path: str | Path) -> None:
    """Drop on another class against the cosine of the class means, a panel per estimator (Fig. 14)."""
    figure, axes = grid(1, len(found), width=4.4 * len(found), height=4.0)
    kinds = ((True, "same superclass", SECOND), (False, "different superclass", ACCENT), (None, "", ACCENT))
    for axis, (title, panel) in zip(axes, found.items(), strict=True):
        for same, label, color in kinds:
            points = [point for point in panel["points"] if point["same_superclass"] is same]
            if points:
                axis.scatter(
                    [point["cosine"] for point in points],
                    [100 * point["drop"] for point in points],
                    s=16, color=color, alpha=0.7, linewidths=0, label=label or None,
                )  # fmt: skip
        axis.axhline(0.0, color="#888", linewidth=0.8)
        axis.set(title=f"{title}: {_correlation(panel['rank_correlation']['all'])}")
        axis.set(xlabel="cosine of mean head inputs", ylabel="accuracy drop (points)")
        axis.grid(alpha=0.25)
    if axes[0].get_legend_handles_labels()[1]:
        axes[-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save(figure, path)


def spectra_panels(spectra: Sequence[Mapping[str, Any]], classes: Sequence[str], path: str | Path) -> None:
    """Per site: above, the μ of every class by rank; below, the overlap between the classes' P (Section 6.3)."""
    places = np.unique(np.linspace(0, len(spectra) - 1, min(_SITES, len(spectra))).round().astype(int))
    figure, axes = grid(2, len(places), width=3.6 * len(places) + 0.8, height=6.6)
    for column, place in enumerate(places):
        site = spectra[place]
        above, below = axes[column], axes[len(places) + column]
        for values, name in zip(site["mu"], classes, strict=True):
            above.plot(site["mu_rank"], values, linewidth=1.0, alpha=0.8, label=name)
        above.axhline(float(np.mean(site["share"])), color="#888", linestyle=":", linewidth=1)
        note = f"rank {site['rank']} of {site['dimensions']}"
        above.set(title=f"{site['site']}\n{note}", xlabel="rank of the direction, relative", ylim=(-0.03, 1.03))
        above.grid(alpha=0.25)
        image = below.imshow(np.array(site["overlap"]), cmap="GnBu", vmin=0.0, vmax=1.0)
        below.set(title=f"overlap, mean {site['overlap_mean']:.2f}")
        if len(classes) <= 10:
            below.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor", fontsize=7)
            below.set_yticks(range(len(classes)), classes, fontsize=7)
    axes[0].set(ylabel="μ")
    axes[0].annotate("n⁺/N", (1.0, float(np.mean(spectra[0]["share"]))), xytext=(-2, 3), ha="right",
                     textcoords="offset points", fontsize=8, color="#666")  # fmt: skip
    figure.colorbar(image, ax=axes[len(places) :], shrink=0.8, label="tr(PᵢPⱼ), normalised")
    save(figure, path)


def cost_bars(cost: Mapping[str, Any], path: str | Path) -> None:
    """Seconds for all classes: one extraction, and each gradient method once per class, on a logarithmic axis."""
    classes = cost["extraction"]["classes"]
    bars = {"engrams of all classes": cost["extraction"]["seconds"]} | {
        name: classes * one["seconds_per_class"] for name, one in cost["baselines"].items()
    }
    figure, (axis,) = grid(1, 1, width=6.8, height=0.36 * len(bars) + 1.2)
    colors = [ACCENT] + [SECOND] * (len(bars) - 1)
    found = axis.barh(range(len(bars)), list(bars.values()), color=colors, height=0.7)
    texts = [f" {value:.3g}" if value < 100 else f" {value:,.0f}" for value in bars.values()]
    axis.bar_label(found, texts, fontsize=8)
    axis.set_yticks(range(len(bars)), list(bars))
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.xaxis.set_minor_formatter("")
    axis.set(xlabel=f"seconds for {classes} classes")
    axis.margins(x=0.2)
    save(figure, path)


def _correlation(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "no variation"
    if found["low"] is None:
        return f"ρ = {found['rho']:.2f}"
    low, high = (round(found[end], 2) + 0.0 for end in ("low", "high"))  # no negative zero
    return f"ρ = {found['rho']:.2f} [{low:.2f}, {high:.2f}]"
