"""Questions with several true answers count once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from audited import FORGET, case, learned
from tiny_language import save_llama, write_lines
from torch import nn
from typer.testing import CliRunner

from mnemotomy.audit.asking import Greedy
from mnemotomy.audit.base import Case
from mnemotomy.audit.cases import probes_from
from mnemotomy.audit.choosing import MultipleChoice
from mnemotomy.audit.judging import says
from mnemotomy.audit.several import likeliest, note, with_first
from mnemotomy.audit.unknown import swapped
from mnemotomy.audit.wording import Asked
from mnemotomy.cli import app
from mnemotomy.text.probes import Probe
from mnemotomy.text.template import Template

TEMPLATE = Template(system=None, date=None)
LINES = [
    {"question": "Who is Ada's child?", "answer": "Boris"},
    {"question": "Where is Kyoto?", "answer": "Japan"},
    {"question": "Who is Ada's child?", "answer": "Clara"},
    {"question": "Who is Ada's child?", "answer": "Boris", "paraphrased_question": "Whom did Ada bear?"},
]
ADA = Probe("Who is Ada's child?", "Boris", TEMPLATE, paraphrases=("Whom did Ada bear?",), also=("Clara",))
KYOTO = Probe("Where is Kyoto?", "Japan", TEMPLATE)


def test_lines_with_the_same_question_are_one_question() -> None:
    assert probes_from(LINES, TEMPLATE, "forget set") == [ADA, KYOTO]


def test_any_of_the_answers_counts_where_the_model_writes() -> None:
    assert (says(ADA, "It is Clara."), says(ADA, "It is Boris."), says(ADA, "It is Edda.")) == (1.0, 1.0, 0.0)

    class Told(Greedy):
        def write(self, model: nn.Module, case: Case, asked: Sequence[Asked]) -> list[list[str]]:
            return [["Clara and Boris"] for _ in asked]

    reading = Told().read(nn.Module(), case(forget=[ADA, KYOTO], retain=(), holdout=()))
    assert reading.values == (1.0, 0.0)
    assert reading.floor == (0.0, 1.0)  # Kyoto's answer to Ada, Ada's answers to Kyoto
    assert reading.samples[0].answer == "Boris / Clara"


def test_no_true_answer_is_taken_for_a_false_one() -> None:
    asked = case(forget=[ADA, KYOTO], retain=[replace(KYOTO, question="Who?", answer="Clara")], holdout=())
    assert MultipleChoice().false(asked, ADA) == ["Japan"]
    wrong = swapped([ADA, replace(KYOTO, answer="Clara")], 3, 0)
    assert [(one.question, one.answer) for one in wrong] == [(KYOTO.question, "Boris")]


def test_where_one_answer_is_looked_for_it_is_the_one_that_the_model_knew() -> None:
    model, _ = learned()
    known = FORGET[0]
    wrong = next(one.answer for one in FORGET if one.answer != known.answer)
    asked = case(forget=[replace(known, answer=wrong, also=(known.answer,)), FORGET[1]])
    places = likeliest(asked, model)
    assert places == {"forget": [1], "retain": [], "holdout": []}
    first = with_first(asked, places)
    assert first.forget[0].answers == (known.answer, wrong)
    assert first.forget[1] == FORGET[1]


def test_the_report_says_it_once_and_counts_each_question_once(tmp_path: Path) -> None:
    assert note({"forget": [KYOTO], "retain": []}) == []
    save_llama(tmp_path / "model", initializer_range=0.3, max_position_embeddings=512)
    write_lines(tmp_path / "forget.jsonl", LINES)
    write_lines(tmp_path / "retain.jsonl", [{"question": "Is Paris the capital of France?", "answer": "France"}])
    named = [tmp_path / "model", tmp_path / "model", tmp_path / "out", "--forget", tmp_path / "forget.jsonl"]
    parts = ["greedy", "membership", "logit-lens", "noise"]
    only = [word for part in parts for word in ("--only", part)]
    result = CliRunner().invoke(app, ["audit", *map(str, named), "--retain", str(tmp_path / "retain.jsonl"), *only])
    assert result.exit_code == 0, result.output
    assert result.output.count("Questions with several answers: 1 in the forget set. Each counts as one question.") == 1
    found = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert found["record"]["questions"]["forget"] == 2
    assert {one["questions"] for one in found["findings"]} == {2}
