"""Public benchmarks as concept files: small files in the form of each, and the hub by what ``datasets`` is asked."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import call, fails
from fuzz_files import JUNK
from tiny_language import write_lines

import mnemotomy as mt
from mnemotomy.core.errors import DataError
from mnemotomy.data.benchmarks import BENCHMARKS
from mnemotomy.data.importing import import_benchmark
from mnemotomy.text.records import read_examples, read_questions

CHOICE = {"question": "Which is a metal?", "choices": ["Neon", "Iron", "Argon", "Xenon"], "answer": 1}
EDITED = {
    "subject": "Watts Humphrey",
    "src": "What university did Watts Humphrey attend?",
    "pred": "Trinity College",
    "rephrase": "What university did Watts Humphrey take part in?",
    "alt": "University of Michigan",
    "answers": ["Illinois Institute of Technology"],
    "loc": "nq question: who played desmond doss father in hacksaw ridge",
    "loc_ans": "Hugo Weaving",
    "cond": "Trinity College >> University of Michigan || What university did Watts Humphrey attend?",
}
FACT = {
    "case_id": 0,
    "pararel_idx": 2796,
    "requested_rewrite": {
        "prompt": "The mother tongue of {} is",
        "relation_id": "P103",
        "target_new": {"str": "English", "id": "Q1860"},
        "target_true": {"str": "French", "id": "Q150"},
        "subject": "Danielle Darrieux",
    },
    "paraphrase_prompts": ["Danielle Darrieux, a native", "Danielle Darrieux spoke the language"],
    "neighborhood_prompts": ["The mother tongue of Léon Blum is", "The native language of Montesquieu is"],
    "attribute_prompts": ["J.-P. Dionnet's mother tongue is"],
    "generation_prompts": ["Danielle Darrieux was born in"],
}


def probe(subject: str, query: str, answer: str, level: str) -> dict[str, str]:
    return {"subject": subject, "query": query, "answer": answer, "level": level, "type": "simple question"}


def dump(path: Path, rows: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_muse_has_texts_for_methods_and_questions_for_audits(tmp_path: Path) -> None:
    source = tmp_path / "news"
    (source / "raw").mkdir(parents=True)
    write_lines(source / "raw" / "retain1.jsonl", [{"text": "Another article."}])
    (source / "raw" / "forget.txt").write_text("First article,\nin two lines.\n\nSecond article.\n", encoding="utf-8")
    dump(source / "raw" / "holdout.json", ["Never seen."])
    dump(source / "knowmem" / "forget_qa.json", [{"question": "Who won?", "answer": "Nobody."}])
    dump(source / "knowmem" / "retain2_qa.json", [{"question": "Who lost?", "answer": "All."}])
    done = mt.import_benchmark("muse", source, tmp_path / "out")
    assert done.left_out == {}
    assert [one.turns[0].content for one in read_examples(done.files["forget"])] == [
        "First article,\nin two lines.",
        "Second article.",
    ]
    assert lines(done.files["retain"]) == [{"text": "Another article."}]
    assert lines(done.files["holdout"]) == [{"text": "Never seen."}]
    assert lines(done.files["forget-questions"]) == [{"question": "Who won?", "answer": "Nobody."}]
    assert lines(done.files["retain-questions"]) == [{"question": "Who lost?", "answer": "All."}]
    record = json.loads((tmp_path / "out" / "benchmark.json").read_text(encoding="utf-8"))
    assert record["lines"] == done.counts == {**dict.fromkeys(done.files, 1), "forget": 2}


def test_a_choice_becomes_a_question_with_its_options(tmp_path: Path) -> None:
    source = tmp_path / "wmdp"
    dump(source / "cyber_questions.json", [CHOICE])
    write_lines(source / "cyber-forget-corpus.jsonl", [{"text": "How to break it."}, {"text": "  "}])
    done = import_benchmark("wmdp-cyber", source, tmp_path / "out")
    (asked,) = read_questions(done.files["forget-questions"])
    assert asked.question == "Which is a metal?\nA. Neon\nB. Iron\nC. Argon\nD. Xenon"
    assert asked.answer == "B. Iron"
    assert asked.perturbed_answers == ("A. Neon", "C. Argon", "D. Xenon")
    assert lines(done.files["forget"]) == [{"text": "How to break it."}]
    assert list(done.left_out) == ["retain"]
    assert "has no file cyber-retain-corpus" in done.left_out["retain"]
    alone = import_benchmark("wmdp-cyber", source / "cyber_questions.json", tmp_path / "alone")
    assert list(alone.files) == ["forget-questions"]


def test_rwku_by_subject(tmp_path: Path) -> None:
    source = tmp_path / "rwku"
    dump(
        source / "passage.json", [{"subject": "Stephen King", "text": "King wrote."}, {"subject": "Bo", "text": "Bo."}]
    )
    dump(source / "forget_level1.json", [probe("Stephen King", "King was born in ___.", "Portland", "1")])
    dump(source / "forget_level2.json", [probe("Bo", "Who?", "Bo", "2"), probe("Stephen King", "Who?", "King", "2")])
    dump(source / "neighbor_level2.json", [probe("Stephen King", "Where is Portland?", "Maine", "2")])
    done = import_benchmark("rwku", source, tmp_path / "out", subjects=["stephen king"], limit=1)
    assert lines(done.files["forget"]) == [{"text": "King wrote."}]
    first, second = read_questions(done.files["forget-questions"])
    assert first.question == "Please complete the blank in the following question.\nKing was born in ___."
    assert (second.question, second.answer) == ("Who?", "King")
    assert set(done.left_out) == {"forget-attacks", "retain-questions"}
    with pytest.raises(DataError, match="no row is about such a subject"):
        import_benchmark("rwku", source / "passage.json", tmp_path / "none", subjects=["Nobody"])
    assert not (tmp_path / "none").exists()


def test_facts_of_editing(tmp_path: Path) -> None:
    dump(tmp_path / "zsre_mend_eval.json", [EDITED, EDITED])
    done = import_benchmark("zsre", tmp_path / "zsre_mend_eval.json", tmp_path / "zsre", limit=1)
    (asked,) = read_questions(done.files["forget"])
    assert (asked.question, asked.answer) == (EDITED["src"], "Illinois Institute of Technology")
    assert asked.perturbed_answers == ("University of Michigan",)
    assert lines(done.files["forget-questions"])[0]["question"] == EDITED["rephrase"]
    assert lines(done.files["retain-questions"]) == [
        {"question": "who played desmond doss father in hacksaw ridge?", "answer": "Hugo Weaving"}
    ]
    dump(tmp_path / "own" / "counterfact.json", [FACT])
    done = import_benchmark("counterfact", tmp_path / "own", tmp_path / "facts", subjects=["Danielle Darrieux"])
    assert done.plain
    (fact,) = lines(done.files["forget"])
    assert fact == {
        "question": "The mother tongue of Danielle Darrieux is",
        "answer": "French",
        "perturbed_answer": ["English"],
    }
    assert [one["question"] for one in lines(done.files["forget-questions"])] == FACT["paraphrase_prompts"]
    assert [(one["question"], one["answer"]) for one in lines(done.files["retain-questions"])] == [
        (prompt, "French") for prompt in FACT["neighborhood_prompts"]
    ]


def test_what_the_hub_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked: list[Any] = []

    def load(name: str, *config: str, **options: Any) -> Iterator[dict[str, Any]]:
        asked.append((name, *config, options))
        if name == "cais/wmdp-bio-forget-corpus":
            raise ValueError("Dataset 'cais/wmdp-bio-forget-corpus' is a gated dataset.\nVisit ...")
        return iter([CHOICE] * 3 if config == ("wmdp-bio",) else [{"text": "A paper."}] * 3)

    monkeypatch.setattr(datasets, "load_dataset", load)
    done = import_benchmark("wmdp-bio", "cais/wmdp", tmp_path / "out", limit=2)
    assert done.counts == {"retain": 2, "forget-questions": 2}
    assert "is a gated dataset. (this part needs a permission on the hub)" in done.left_out["forget"]
    assert not (tmp_path / "out" / "forget.jsonl").exists()
    assert asked == [
        ("cais/wmdp-bio-forget-corpus", {"split": "train", "streaming": True}),
        ("cais/wmdp-corpora", "bio-retain-corpus", {"split": "train", "streaming": True}),
        ("cais/wmdp", "wmdp-bio", {"split": "test", "streaming": True}),
    ]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: 1 / 0)
    with pytest.raises(DataError, match="cannot load muse-bench/MUSE-News raw forget: division by zero"):
        import_benchmark("muse", "muse-bench/MUSE-News", tmp_path / "news")


def test_parts_in_parquet_as_the_hub_stores_them(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    (tmp_path / "source" / "raw").mkdir(parents=True)
    for number in range(2):
        part = tmp_path / "source" / "raw" / f"forget-0000{number}-of-00002.parquet"
        datasets.Dataset.from_list([{"text": f"Article {number}."}]).to_parquet(part)
    done = import_benchmark("muse", tmp_path / "source", tmp_path / "out")
    assert lines(done.files["forget"]) == [{"text": "Article 0."}, {"text": "Article 1."}]


def test_tofu_in_the_same_way(tmp_path: Path) -> None:
    row = {"question": "Who?", "answer": "Hina.", "paraphrased_answer": "It is Hina.", "perturbed_answer": ["Ali."]}
    (tmp_path / "tofu").mkdir()
    for split in ("forget10", "retain90", "holdout10", "forget10_perturbed", "retain_perturbed"):
        write_lines(tmp_path / "tofu" / f"{split}.jsonl", [row])
    done = import_benchmark("tofu-forget10", tmp_path / "tofu", tmp_path / "out")
    assert set(done.files) == {"forget", "retain", "holdout", "forget-questions", "retain-questions"}
    assert read_questions(done.files["forget-questions"])[0].perturbed_answers == ("Ali.",)


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("wmdp-chem", [{"question": "?", "answer": 1}], "row 1: 'choices' is missing; is this the right benchmark?"),
        ("wmdp-chem", [{**CHOICE, "answer": 9}], "row 1: not a row of this benchmark (pop index out of range)"),
        ("wmdp-chem", [{**CHOICE, "question": 3}], "row 1: not a row of this benchmark"),
        ("zsre", [{**EDITED, "answers": [7]}], "row 1: 'answer' must be a text, not 7"),
        ("zsre", [3], "row 1: not a row of this benchmark"),
        ("zsre", [], "gives nothing of zsre: no row has a text"),
    ],
)
def test_malformed_rows_are_named(tmp_path: Path, name: str, rows: list[Any], message: str) -> None:
    dump(tmp_path / "rows.json", rows)
    with pytest.raises(DataError) as caught:
        import_benchmark(name, tmp_path / "rows.json", tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_junk_is_refused_in_words(tmp_path: Path) -> None:
    for junk in JUNK:
        for name, file in (("muse", "knowmem.json"), ("zsre", "zsre.json"), ("muse", "raw.txt")):
            (tmp_path / file).write_bytes(junk)
            with contextlib.suppress(mt.MnemotomyError):  # a bug is another error
                import_benchmark(name, tmp_path / file, tmp_path / "out")


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dump(Path("counterfact.json"), [FACT, FACT])
    result = call("data", "import", "counterfact", "counterfact.json", "facts", "--limit", "1")
    assert result.exit_code == 0
    assert "facts/forget.jsonl: 1 lines, what a method is given to forget" in result.stdout
    assert "give --plain" in result.stdout
    call("data", "import", "counterfact", "counterfact.json", "facts")
    assert len(lines(Path("facts/forget.jsonl"))) == 2  # an earlier import is replaced
    fails(call("data", "import", "counterfact", "none.json", "new"), "none.json does not exist")
    fails(
        call("data", "import", "muze", "counterfact.json", "new"), "there is no benchmark 'muze'; choose one of tofu-"
    )
    fails(call("data", "import", "muse", "x", "new", "--subject", "Bo"), "muse is not about single subjects")
    Path("mine").mkdir()
    Path("mine/forget.jsonl").write_text("mine\n")
    fails(call("data", "import", "counterfact", "counterfact.json", "mine"), "mnemotomy did not write")
    listed = call("data", "list").stdout.splitlines()
    assert [line.partition(":")[0] for line in listed] == list(BENCHMARKS)
