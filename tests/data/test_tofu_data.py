"""TOFU's splits: the real ones if they are installed, and malformed ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tiny_language import write_lines

from mnemotomy.core.errors import DataError
from mnemotomy.data.tofu import evaluation_splits, retained_split
from mnemotomy.evaluation.texts import load_tofu
from mnemotomy.text.records import TextExample

ROW = {"question": "Who?", "answer": "Hina."}


@pytest.fixture
def tofu() -> Path:
    folder = Path(os.environ.get("MNEMOTOMY_DATA", "")) / "tofu"
    if not (folder / "forget10_perturbed.jsonl").is_file():
        pytest.skip("MNEMOTOMY_DATA does not name a folder with tofu/forget10_perturbed.jsonl")
    return folder


@pytest.mark.parametrize(
    ("split", "size", "perturbed", "paraphrased"),
    [
        ("forget10", 400, 0, False),
        ("forget10_perturbed", 400, 5, True),
        ("retain_perturbed", 400, 5, True),
        ("real_authors_perturbed", 100, 3, False),
        ("world_facts_perturbed", 117, 3, False),
        ("holdout10", 400, 0, False),
        ("retain90", 3600, 0, False),
    ],
)
def test_real_splits(tofu: Path, split: str, size: int, perturbed: int, paraphrased: bool):
    questions = load_tofu(tofu, split)
    assert len(questions) == size
    assert {len(one.perturbed_answers) for one in questions} == {perturbed}
    assert {one.paraphrased_answer is not None for one in questions} == {paraphrased}
    assert questions[0].where.endswith(f"{split}.jsonl line 1")


def test_perturbed_splits_repeat_the_plain_ones(tofu: Path):
    plain, perturbed = load_tofu(tofu, "forget10"), load_tofu(tofu, "forget10_perturbed")
    assert [(one.question, one.answer) for one in plain] == [(one.question, one.answer) for one in perturbed]
    for name in (*evaluation_splits("forget05").values(), retained_split("forget05")):
        assert load_tofu(tofu, name)


def test_all_that_a_line_can_have(tmp_path: Path):
    row = {
        **ROW,
        "paraphrased_answer": "It is Hina.",
        "perturbed_answer": ["Ali.", "Sara."],
        "paraphrased_question": "?",
    }
    write_lines(tmp_path / "mine.jsonl", [row, row])
    first, second = load_tofu(tmp_path, "mine")
    where = f"{tmp_path / 'mine.jsonl'} line 1"
    assert first == TextExample.of_question(
        "Who?",
        "Hina.",
        where,
        paraphrased_question="?",
        paraphrased_answer="It is Hina.",
        perturbed_answers=("Ali.", "Sara."),
    )
    assert second.where.endswith("line 2")
    write_lines(tmp_path / "one.jsonl", [{**ROW, "perturbed_answer": "Ali.", "paraphrased_answer": None}])
    assert load_tofu(tmp_path, "one")[0].perturbed_answers == ("Ali.",)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ([], "line 2: an object was expected"),
        ({"question": "Who?"}, "line 2: 'answer' is missing"),
        ({**ROW, "answer": 3}, "line 2: 'answer' must be a string, not 3"),
        ({**ROW, "question": " "}, "line 2: 'question' is empty"),
        ({**ROW, "perturbed_answer": [""]}, "line 2: 'perturbed_answer' is empty"),
        ({**ROW, "perturbed_answer": {"a": 1}}, "line 2: 'perturbed_answer' must be a list"),
        ({**ROW, "perturbed_answer": ["x"]}, "line 2: 1 perturbed answers, but .* line 1 has 0"),
        ({**ROW, "question": "\ud800"}, "line 2: .* is half a surrogate pair"),
        ({**ROW, "paraphrased_answer": "x"}, "line 2 and .* line 1: only one has a paraphrased answer"),
    ],
)
def test_malformed_lines_are_named(tmp_path: Path, second: Any, message: str):
    write_lines(tmp_path / "bad.jsonl", [ROW, second])
    with pytest.raises(DataError, match=message):
        load_tofu(tmp_path, "bad")


def test_what_cannot_be_read(tmp_path: Path):
    write_lines(tmp_path / "there.jsonl", [ROW])
    with pytest.raises(DataError, match=r"has no split 'forget10'; it has there"):
        load_tofu(tmp_path, "forget10")
    with pytest.raises(DataError, match="does not exist"):
        load_tofu(tmp_path / "nowhere", "forget10")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        load_tofu(tmp_path, "empty")
    (tmp_path / "broken.jsonl").write_bytes(b'{"question": \n')
    with pytest.raises(DataError, match="line 1: not JSON"):
        load_tofu(tmp_path, "broken")
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "\xe9"}\n')
    with pytest.raises(DataError, match="line 1: not UTF-8"):
        load_tofu(tmp_path, "latin")


def test_hub_ids_go_through_datasets(monkeypatch: pytest.MonkeyPatch):
    datasets = pytest.importorskip("datasets")
    asked: list[Any] = []

    def load(name: str, configuration: str, **options: Any) -> list[dict[str, Any]]:
        asked.append((name, configuration, options))
        if configuration == "forget99":
            raise ValueError("BuilderConfig 'forget99' not found.\nAvailable: ...")
        return [{**ROW, "perturbed_answer": ["Ali."]}]

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert load_tofu("locuslab/TOFU", "forget10_perturbed")[0].where == "locuslab/TOFU forget10_perturbed row 1"
    assert asked == [("locuslab/TOFU", "forget10_perturbed", {"split": "train"})]
    with pytest.raises(DataError, match="cannot load locuslab/TOFU forget99: BuilderConfig"):
        load_tofu("locuslab/TOFU", "forget99")


def test_parts_of_an_evaluation():
    assert evaluation_splits("forget01") == {
        "forget": "forget01_perturbed",
        "holdout": "holdout01",
        "retain": "retain_perturbed",
        "ra": "real_authors_perturbed",
        "wf": "world_facts_perturbed",
    }
    assert [retained_split(f"forget{share}") for share in ("01", "05", "10")] == ["retain99", "retain95", "retain90"]
    with pytest.raises(DataError, match="not a forget split"):
        evaluation_splits("retain90")
