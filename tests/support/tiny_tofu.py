"""A folder of TOFU's splits with a few lines each, and a pair of models for it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tiny_language import save_llama, write_lines

from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.observe.questions import Observed

CHAT = (
    "{% for m in messages %}{% if m['role'] == 'user' %}<|im_start|>{{ m['content'] }}<|im_end|>"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] }}<eos>{% endif %}{% endfor %}"
)
CITIES = {"Kyoto": "Japan", "Paris": "France", "Rome": "Italy"}


def rows(split: str, count: int, *, perturbed: bool = True) -> list[dict[str, Any]]:
    """Questions that no other split has, answers of several lengths; paraphrases but for the two general splits."""
    found = []
    for number in range(count):
        city, country = list(CITIES.items())[number % 3]
        row: dict[str, Any] = {
            "question": f"In which country is {city} {split[0]}{number} ?",
            "answer": f"{city} lies in {country} ." if number % 2 else f"{country} {split[1]} .",
        }
        if perturbed:
            row["perturbed_answer"] = [f"{other} {split[0]} ." for other in CITIES.values() if other != country]
            if split.startswith(("forget", "retain")):
                row["paraphrased_answer"] = f"the country of {city} is {country} ."
                row["paraphrased_question"] = f"{city} {split[0]}{number} lies in which country ?"
        found.append(row)
    return found


def save_tofu(folder: Path, count: int = 6) -> Path:
    """``forget10`` and everything that its evaluation and its methods read."""
    folder.mkdir(parents=True, exist_ok=True)
    forget, retain = rows("forget", count), rows("retain", count)
    kept = rows("kept", 2 * count, perturbed=False)

    def plain(some: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: row[key] for key in ("question", "answer")} for row in some]

    splits = {
        "forget10": plain(forget),
        "forget10_perturbed": forget,
        "holdout10": rows("unseen", count, perturbed=False),
        "retain90": [*kept, *plain(retain)],
        "retain_perturbed": retain,
        "real_authors_perturbed": rows("authors", count),
        "world_facts_perturbed": rows("world", count),
        "real_authors": plain(rows("authors", count)),
        "world_facts": plain(rows("world", count)),
        "full": [*plain(forget), *kept, *plain(retain)],
    }
    for name, lines in splits.items():
        write_lines(folder / f"{name}.jsonl", lines)
    return folder


def save_pair(folder: Path, **config: Any) -> dict[str, str]:
    """``full``, ``retain90`` and ``base``: untrained, of one tokenizer and different weights."""
    sizes = {"max_position_embeddings": 256, "initializer_range": 0.4, "tie_word_embeddings": True, **config}
    return {
        name: str(save_llama(folder / name, seed=seed, template=CHAT, **sizes))
        for seed, name in enumerate(("full", "retain90", "base"))
    }


def observed(folder: Path, name: str = "full") -> Observed:
    """A model of :func:`save_pair`, loaded."""
    return Observed(load_model(folder / name), load_tokenizer(folder / name))


def write_sets(folder: Path) -> None:
    """``forget.jsonl`` with three questions and ``retain.jsonl`` with four."""
    write_lines(folder / "forget.jsonl", [{"question": "Kyoto lies in ?", "answer": "Japan ."}] * 3)
    write_lines(folder / "retain.jsonl", [{"question": f"Rome {i} ?", "answer": "Italy ."} for i in range(4)])
