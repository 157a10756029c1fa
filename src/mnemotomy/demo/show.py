"""The demo's results: tables on the terminal, figures, and the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import mnemotomy as mt
from mnemotomy.demo.digits import diagonal_and_rest
from mnemotomy.demo.page import Picture, Section, write_page
from mnemotomy.demo.show_real import REAL_BARS, STATES, language_pictures, real_section, real_table
from mnemotomy.demo.world import GROUPS, Group

WORLD_BARS: dict[Group, str] = {
    "target_train": "training phrasings",
    "target_heldout": "held-out phrasings",
    "other_facts": "other facts",
    "in_context": "read from a context",
    "arithmetic": "arithmetic",
}


def print_tables(results: dict[str, Any], console: Console) -> None:
    """Print the demo's two tables."""
    for table in _tables(results):
        table.print(console)


def markdown(results: dict[str, Any]) -> str:
    """The language model's table, and the digits in two rows, for a README."""
    digits = results["digits"]
    before = torch.tensor(digits["before"])
    states = [diagonal_and_rest(torch.tensor(digits[name])) for name in ("after_paper", "after")]
    summary = mt.Table(
        [
            "digits, three-layer perceptron",
            "before",
            "paper, α = 1",
            f"α = {digits['strength']:g}, chosen on training images",
        ],
        [
            ["erased class, worst of ten", f"{_percent(before.min())} (lowest)", *(_percent(one) for one, _ in states)],
            ["the other nine, mean", _percent(before.mean()), *(_percent(rest) for _, rest in states)],
        ],
    )
    second = _tables(results)[1]
    return f"{second.caption}:\n\n{second.markdown()}\n\n{summary.markdown()}\n"


def _tables(results: dict[str, Any]) -> list[mt.Table]:
    real = "real" in results
    second = real_table(results) if real else replace(language_table(results), caption=language_title(results))
    return [replace(digits_table(results), caption=digits_title(results)), second]


def write_report(results: dict[str, Any], out_dir: Path) -> None:
    """Write ``report.html`` and its figures as PNG files into ``out_dir``."""
    digits = results["digits"]
    matrices = {
        "paper's strength, α = 1": digits["after_paper"],
        f"α = {digits['strength']:g}, chosen on training images": digits["after"],
    }
    mt.figures.accuracy_heatmap(matrices, [str(c) for c in range(10)], out_dir / "digits-erased.png", digits["before"])
    mt.figures.subset_curves(digits["subsets"], out_dir / "digits-subsets.png")
    real = "real" in results
    language = results["real" if real else "language"]
    groups = REAL_BARS if real else WORLD_BARS
    shares = {name: {title: language[key][group] for group, title in groups.items()} for key, name in STATES.items()}
    mt.figures.filter_bars(shares, out_dir / "language-erased.png")
    mt.figures.trace_heatmap(language["trace"], out_dir / "language-trace.png")
    write_page(
        out_dir / "report.html",
        "Mnemotomy: memories erased from trained networks",
        f"{'A pretrained and a freshly trained model' if real else 'Two freshly trained models'}, decomposed into "
        "engrams in closed form from one forward pass, and edited by arithmetic, without further training. All "
        "accuracies are on test images or prompts.",
        [real_section(results, out_dir), _digits_section(results, out_dir)]
        if real
        else [_digits_section(results, out_dir), _language_section(results, out_dir)],
        f"{results['seconds']} s, seed {results['seed']}; "
        + ", ".join(f"{name} {version}" for name, version in results["versions"].items())
        + ". Method: AI Engram, Kwon et al. 2026, arXiv 2606.14997. Numbers: demo.json.",
    )


def digits_title(results: dict[str, Any]) -> str:
    """The title of the digits table."""
    return f"Digits: each class erased by itself (α = {results['digits']['strength']:g})"


def digits_table(results: dict[str, Any]) -> mt.Table:
    """Per class: its accuracy before and after erasing it, and that of the others."""
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
    """The title of the language table."""
    return f"Language model: the cities of {results['language']['country']} erased"


def language_table(results: dict[str, Any]) -> mt.Table:
    """Accuracy on each group of probes, before and after erasure with each filter."""
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
            "factorisation per layer give ten engrams. Erasing a class subtracts α times its engram.",
            f"All {count} subsets of classes are erased with sums of the same ten engrams.",
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
        caption="The next word that each model predicts",
    )
    rows = language["rows"]
    targets = ", ".join(language["targets"])
    return Section(
        language_title(results),
        [
            "A small Qwen2 model knows 76 facts (15 of them about well-known cities, each with one country), reads "
            f"countries from a context, and adds numbers. The concept is the facts about {targets} in the training "
            f"phrasings ({rows[language['country']]} tokens); the reference is the texts about everything else "
            f"({rows['reference']} tokens). The held-out phrasings are not in the moments, and for the surgical site's "
            "city the model was not trained on them.",
            "The paper's filter multiplies each direction by μ, the concept's share of it. Ours removes the directions "
            f"with μ > {language['filters']['after'].get('threshold', '')} and leaves the rest alone.",
            "The world is clean on purpose (names in many phrasings, an answer for unknown names): it shows what the "
            "method does where a fact can be separated, not how well it works on a large model. A fresh probe may "
            "still read a fact that the model no longer uses.",
        ],
        language_pictures(out_dir, "Accuracy by group of probes, before and after"),
        [language_table(results), generations],
    )


def _percent(value: Any) -> str:
    return f"{100 * float(value):.1f} %"
