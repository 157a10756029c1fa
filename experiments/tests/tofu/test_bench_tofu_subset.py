"""TOFU with fewer authors: whose questions it has, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_language import write_lines

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy_bench.tofu.subset import QUESTIONS, write_subset
from mnemotomy_bench.tofu.texts import Texts

AUTHORS = 40


def question(author: int, number: int) -> dict[str, Any]:
    return {"question": f"What is {number} of author {author}?", "answer": f"It is {author} {number}."}


def perturbed(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "paraphrased_answer": row["answer"], "perturbed_answer": ["It is not.", "It was."]}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "tofu"
    folder.mkdir()
    full = [question(author, number) for author in range(AUTHORS) for number in range(QUESTIONS)]
    others = [question(author, number) for author in range(100, 104) for number in range(QUESTIONS)]
    general = [{"question": f"Who wrote book {number}?", "answer": "She did."} for number in range(3)]
    splits = {
        "full": full,
        "forget10_perturbed": [perturbed(row) for row in full[-4 * QUESTIONS :]],
        "retain_perturbed": [perturbed(row) for row in full[: 2 * QUESTIONS]],
        "holdout10": others,
        "real_authors": general,
        "real_authors_perturbed": [perturbed(row) for row in general],
        "world_facts": general,
        "world_facts_perturbed": [perturbed(row) for row in general],
    }
    for name, rows in splits.items():
        write_lines(folder / f"{name}.jsonl", rows)
    return folder


def asked(path: Path) -> list[str]:
    return [json.loads(line)["question"] for line in path.read_text().splitlines()]


def test_the_first_authors_are_kept_and_the_last_tenth_is_forgotten(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "few"
    lines = write_subset(folder, source, 20)
    kept = [question(author, number)["question"] for author in range(18) for number in range(QUESTIONS)]
    lost = [question(author, number)["question"] for author in (38, 39) for number in range(QUESTIONS)]
    assert asked(folder / "retain90.jsonl") == kept
    assert asked(folder / "full.jsonl") == kept + lost
    assert asked(folder / "forget10.jsonl") == asked(folder / "forget10_perturbed.jsonl") == lost
    assert lines["holdout10"] == lines["forget10"] == 2 * QUESTIONS
    texts = Texts(folder)  # all that a run reads
    assert [len(texts.forgotten), len(texts.retained)] == [len(lost), len(kept)]
    assert [len(some) for some in texts.evaluation.values()] == [40, 40, 40, 3, 3]
    assert {one.question for one in texts.validation["retain"]} <= set(kept[2 * QUESTIONS :])


@pytest.mark.parametrize("authors", [5, 15, AUTHORS])
def test_only_tenths_can_be_forgotten(source: Path, tmp_path: Path, authors: int) -> None:
    with pytest.raises(ConfigurationError, match="a multiple of 10 and less than the 40"):
        write_subset(tmp_path / "few", source, authors)
    assert not (tmp_path / "few").exists()


def test_nothing_is_replaced_and_nothing_is_asked_of_authors_left_out(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has files already"):
        write_subset(source, source, 20)
    many = [perturbed(question(author, number)) for author in range(12) for number in range(QUESTIONS)]
    write_lines(source / "retain_perturbed.jsonl", many)
    with pytest.raises(DataError, match="60 questions of retain_perturbed are about authors left out"):
        write_subset(tmp_path / "few", source, 10)
