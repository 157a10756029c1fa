"""The results on the pretrained model: its table and its part of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mnemotomy as mt
from mnemotomy.demo.page import Picture, Section

STATES = {"before": "before", "after_paper": "erased, paper's edit", "after": "erased, our edit"}
REAL_GROUPS = {
    "train": "{country}, training phrasings",
    "heldout": "{country}, held-out phrasings",
    "seen": "other cities, in the reference",
    "unseen": "other cities, in no moments",
    "context": "reading {country} from a context",
    "counterfactual": "reading another country from a context",
}
"""What is asked for: the share of prompts that are answered."""

REAL_BARS = {
    "train": "training phrasings",
    "heldout": "held-out phrasings",
    "seen": "other cities, in the reference",
    "unseen": "other cities, in no moments",
    "context": "read from a context",
    "counterfactual": "another country read from a context",
}
"""The same in few words, under bars."""


def real_table(results: dict[str, Any]) -> mt.Table:
    """The share of prompts that the model answers, and its perplexity, before and after erasure with each filter."""
    real = results["real"]
    rows = [
        [title.format(country=real["country"]), *(f"{100 * real[state][group]:.0f} %" for state in STATES)]
        for group, title in REAL_GROUPS.items()
    ]
    rows.append(["perplexity on general text", *(f"{real[state]['perplexity']:.1f}" for state in STATES)])
    return mt.Table(["asked for", *STATES.values()], rows, caption=real_title(results))


def real_title(results: dict[str, Any]) -> str:
    """The title of the table."""
    real = results["real"]
    count = len(real["known"]["target"])
    return f"SmolLM2-135M-Instruct: the {count} cities of {real['country']} that it knows erased"


def real_section(results: dict[str, Any], out_dir: Path) -> Section:
    """The part of the report about the pretrained model."""
    real = results["real"]
    known, rows = real["known"], real["rows"]
    total = sum(map(len, known.values()))
    shown = ("kind", "prompt", "answer", *STATES)
    generations = mt.Table(
        ["tests", "prompt", "true answer", *STATES.values()],
        [[str(row[one]).strip() for one in shown] for row in real["generations"]],
        caption="What each model writes",
    )
    return Section(
        real_title(results),
        [
            f"SmolLM2-135M-Instruct has {real['model']['parameters'] / 1e6:.0f} million parameters and was trained by "
            f"its makers, not here ({real['model']['origin']}). Asked for the countries of {real['asked']} cities in "
            f"seven phrasings, it knows {total} in at least five, and those are used: "
            f"{', '.join(known['target'])} are erased; {len(known['seen'])} others are in the reference; "
            f"{len(known['unseen'])} are in no moments ({', '.join(known['unseen'])}).",
            f"The concept is the erased cities in four phrasings ({rows[real['country']]} tokens); the reference is "
            f"the others in the same phrasings, and texts that the model wrote itself ({rows['reference']} tokens). "
            "The three held-out phrasings are in no moments.",
            "The paper's edit takes μ of each input direction, the concept's share of it, from every projection. Ours "
            f"takes α = {real['strength']:g} times as much, as far as it also writes what the concept writes, and only "
            "from the attention projections in the upper third of the blocks: the edit that 'mnemotomy forget' tries "
            "first. A fresh probe may still read a fact that the model no longer says: see 'mnemotomy audit'.",
        ],
        language_pictures(out_dir, "Share of prompts answered, before and after"),
        [real_table(results), generations],
    )


def language_pictures(out_dir: Path, bars: str) -> list[Picture]:
    """The two figures about a language model; ``bars`` says what the first one's bars are."""
    trace = "Where the concept is stored: weight-norm ratio by block and projection"
    return [Picture(out_dir / "language-erased.png", bars), Picture(out_dir / "language-trace.png", trace)]
