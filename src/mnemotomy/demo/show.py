"""The demo's numbers for people: tables on the terminal, figures, and the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console

import mnemotomy as mt
from mnemotomy.demo.digits import diagonal_and_rest
from mnemotomy.demo.page import Picture, Section, write_page
from mnemotomy.demo.world import GROUPS

STATES = {"before": "before", "after_paper": "erased, paper's filter", "after": "erased, our filter"}


def print_tables(results: dict[str, Any], console: Console) -> None:
    """The two short tables that the demo ends with."""
    for title, table in (
        (digits_title(results), digits_table(results)),
        (language_title(results), language_table(results)),
    ):
        replace(table, caption=title).print(console)


def write_report(results: dict[str, Any], out_dir: Path) -> None:
    """``report.html`` and its figures as PNG files, in ``out_dir``."""
    digits, language = results["digits"], results["language"]
    matrices = {
        "paper's strength, α = 1": digits["after_paper"],
        f"α = {digits['strength']:g}, chosen on training images": digits["after"],
    }
    mt.figures.accuracy_heatmap(matrices, [str(c) for c in range(10)], out_dir / "digits-erased.png", digits["before"])
    mt.figures.subset_curves(digits["subsets"], out_dir / "digits-subsets.png")
    mt.figures.filter_bars({name: language[key] for key, name in STATES.items()}, out_dir / "language-erased.png")
    mt.figures.trace_heatmap(pd.DataFrame(language["trace"]), out_dir / "language-trace.png")
    write_page(
        out_dir / "report.html",
        "Mnemotomy: memories taken out of trained networks",
        "Two models trained on the spot, decomposed into engrams in closed form from one forward pass, and edited by "
        "arithmetic. All accuracies are on test images and on prompts; nothing was trained after the edit.",
        [_digits_section(results, out_dir), _language_section(results, out_dir)],
        f"{results['seconds']} s, seed {results['seed']}; "
        + ", ".join(f"{name} {version}" for name, version in results["versions"].items())
        + ". Method: AI Engram, Kwon et al. 2026, arXiv 2606.14997. Numbers: demo.json.",
    )


def digits_title(results: dict[str, Any]) -> str:
    """What the digits table shows."""
    return f"Digits: each class erased in turn (α = {results['digits']['strength']:g})"


def digits_table(results: dict[str, Any]) -> mt.Table:
    """Per class: accuracy before, after erasing it, and of the others meanwhile."""
    before = torch.tensor(results["digits"]["before"])
    after = torch.tensor(results["digits"]["after"])
    rows = []
    for c in range(len(before)):
        others = torch.arange(len(before)) != c
        rows.append(
            [
                str(c),
                _percent(before[c]),
                _percent(after[c, c]),
                _percent(before[others].mean()),
                _percent(after[c, others].mean()),
            ]
        )
    worst, kept = diagonal_and_rest(after)
    rows.append(["worst / mean", _percent(before.mean()), _percent(worst), _percent(before.mean()), _percent(kept)])
    return mt.Table(["class", "before", "erased", "others before", "others after"], rows)


def language_title(results: dict[str, Any]) -> str:
    """What the language table shows."""
    return f"Language model: the cities of {results['language']['country']} erased"


def language_table(results: dict[str, Any]) -> mt.Table:
    """Accuracy on each group of probes, before and after each filter."""
    language = results["language"]
    rows = [[group.replace("_", " "), *(_percent(language[state][group]) for state in STATES)] for group in GROUPS]
    return mt.Table(["probes", *STATES.values()], rows)


def _digits_section(results: dict[str, Any], out_dir: Path) -> Section:
    digits = results["digits"]
    count = sum(row["subsets"] for row in digits["subsets"])
    subsets = mt.Table(
        ["classes erased", "subsets", "accuracy on erased", "accuracy on kept"],
        [
            [
                str(row["size"]),
                str(row["subsets"]),
                _percent(row["erased_accuracy"]),
                "–" if row["kept_accuracy"] is None else _percent(row["kept_accuracy"]),
            ]
            for row in digits["subsets"]
        ],
        caption="Every subset, by size",
    )
    return Section(
        digits_title(results),
        [
            "A three-layer perceptron on scikit-learn's handwritten digits. One pass over the training images and one "
            "factorisation per layer give ten engrams; erasing a class subtracts its engram times α.",
            f"All {count} subsets of classes are synthesised from the same ten engrams by addition alone.",
        ],
        [
            Picture(out_dir / "digits-erased.png", "Accuracy on each class (columns) after erasing each class (rows)"),
            Picture(out_dir / "digits-subsets.png", "Mean accuracy on erased and kept classes by subset size"),
        ],
        [digits_table(results), subsets],
    )


def _language_section(results: dict[str, Any], out_dir: Path) -> Section:
    language = results["language"]
    generations = mt.Table(
        ["tests", "prompt", "true answer", *STATES.values()],
        [
            [row["kind"], row["prompt"], row["answer"], *(row[state] for state in STATES)]
            for row in language["generations"]
        ],
        caption="The word that each model goes on with",
    )
    rows = language["rows"]
    targets = ", ".join(language["targets"])
    return Section(
        language_title(results),
        [
            "A small Qwen2 model that knows 76 facts, 15 of them well-known cities with one country each, reads "
            f"countries from a context, and adds. The concept is what it was told about {targets} in the training "
            f"phrasings ({rows[language['country']]} tokens); the reference is the texts about everything else "
            f"({rows['reference']} tokens). The held-out phrasings are not in the moments; with the city of the "
            "surgical site the model has never seen them.",
            "The paper's filter multiplies each direction by μ, the share of it that is the concept's; ours removes "
            f"the directions with μ > {language['filters']['after'].get('threshold', '')} and leaves the rest alone.",
            "The world is kept clean on purpose (names known in many phrasings, an answer for unknown names): it shows "
            "what the method does where a fact can be separated, not how it fares on a large model. A fresh probe may "
            "still read a name that the model no longer acts on.",
        ],
        [
            Picture(out_dir / "language-erased.png", "Accuracy by group of probes, before and after"),
            Picture(
                out_dir / "language-trace.png", "Where the concept is kept: weight-norm ratio by block and projection"
            ),
        ],
        [language_table(results), generations],
    )


def _percent(value: Any) -> str:
    return f"{100 * float(value):.1f} %"
