"""The structure of reasoning output on GSM8K (Section 5.5), for models whose tokenizer can read it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from mnemotomy.core.errors import DataError
from mnemotomy.observe.generation import continue_greedily
from mnemotomy.text.template import DATE
from mnemotomy_bench.metrics.interval import bootstrap_interval
from mnemotomy_bench.metrics.structure import final_number, structure

PROBLEMS = Path("gsm8k") / "test.jsonl"

UNREADABLE = 0.05
"""Share of unknown tokens above which a tokenizer cannot read the problems."""


def has_problems(data: Path) -> bool:
    """Whether the data folder contains GSM8K."""
    return (data / PROBLEMS).is_file()


def problems(data: Path, limit: int | None = None) -> list[tuple[str, str]]:
    """Questions and worked answers of ``gsm8k/test.jsonl`` in the data folder.

    Raises:
        DataError: the file is missing.
    """
    path = data / PROBLEMS
    if not path.is_file():
        raise DataError(f"there is no {path}; set MNEMOTOMY_DATA to the folder that holds gsm8k/test.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [(row["question"], row["answer"]) for row in rows[:limit]]


def readable(tokenizer: Any, texts: list[str]) -> bool:
    """Whether the tokenizer knows the texts' words; a word-level one of a small world does not."""
    unknown = tokenizer.unk_token_id
    if unknown is None:
        return True
    ids = [token for text in texts for token in tokenizer(text)["input_ids"]]
    return sum(token == unknown for token in ids) <= UNREADABLE * len(ids)


def reasoning(
    model: nn.Module, tokenizer: Any, pairs: Sequence[tuple[str, str]], *, max_new_tokens: int = 256
) -> dict[str, Any]:
    """Mean and 95 % bootstrap interval of every count of `structure`, and the share of right final numbers.

    Returns:
        only ``{"readable": False}`` if the tokenizer cannot read the problems.
    """
    if not readable(tokenizer, [question for question, _ in pairs]):
        return {"readable": False}
    chat = getattr(tokenizer, "chat_template", None)

    def prompt(question: str) -> str:
        if not chat:
            return f"Question: {question}\nAnswer:"
        turns = [{"role": "user", "content": question}]
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, date_string=DATE))

    texts = continue_greedily(
        model, tokenizer, [prompt(question) for question, _ in pairs], max_new_tokens, special_tokens=not chat
    )
    counts = [asdict(structure(text)) for text in texts]
    right = [float(final_number(text) == final_number(answer)) for text, (_, answer) in zip(texts, pairs, strict=True)]
    found: dict[str, Any] = {"readable": True, "problems": len(pairs), "examples": texts[:3]}
    for name in counts[0]:
        found[name] = _interval([float(count[name]) for count in counts])
    return found | {"right": _interval(right)}


def _interval(values: list[float]) -> dict[str, float]:
    mean, low, high = bootstrap_interval(values)
    return {"mean": mean, "low": low, "high": high}
