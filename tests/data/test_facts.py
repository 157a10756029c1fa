"""Facts: their files, templates and formats, and errors that name the line."""

from __future__ import annotations

import json

import pytest

from mnemotomy.core.errors import DataError
from mnemotomy.data.fact import Fact, PromptFormat, check_facts
from mnemotomy.data.fact_file import read_facts, write_facts
from mnemotomy.data.fact_templates import CITY_COUNTRY, Templates, read_templates

KYOTO = Fact("Kyoto", "Japan", ("Kyoto is in",), ("Kyoto is in Japan.",), relation="country")


def write(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_a_file_is_read_as_it_was_written(tmp_path):
    facts = (KYOTO, Fact("Zürich", "Schweiz", ("Zürich liegt in der",), ("Zürich liegt in der Schweiz.",)))
    assert write_facts(tmp_path / "facts.jsonl", facts) == 2
    assert read_facts(tmp_path / "facts.jsonl") == facts


def test_blank_lines_and_single_texts(tmp_path):
    row = {"subject": "Kyoto", "answer": "Japan", "prompts": "Kyoto is in", "contexts": "Kyoto is in Japan."}
    (fact,) = read_facts(write(tmp_path / "f", "", row, "  "))
    assert fact.prompts == ("Kyoto is in",)
    assert fact.where.endswith("line 2")


GOOD = {"subject": "Paris", "answer": "France", "prompts": ["Paris is in"], "contexts": ["Paris is in France."]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{not json", "line 2: not JSON"),
        ("[1]", "line 2: expected an object"),
        ({"subject": "Kyoto"}, "line 2: 'answer' is missing"),
        ({**GOOD, "subject": " "}, "line 2: 'subject' is empty"),
        ({**GOOD, "subject": 3}, "line 2: 'subject' must be a text"),
        ({**GOOD, "prompts": 3}, "line 2: 'prompts' must be a list"),
        ({**GOOD, "subject": "Rome", "prompts": ["a", ""]}, "line 2: 'prompts' contains an empty text"),
        ({**GOOD, "subject": "Rome", "prompts": []}, "line 2: 'prompts' is empty"),
        ({**GOOD, "subject": "Rome", "answer": "Italy"}, "line 2: the answer 'Italy' is not in its context"),
        ({**GOOD, "answer": "Italy", "contexts": ["Paris is in Italy."]}, "line 2: 'Paris' has the answer 'Italy'"),
        ({**GOOD, "question": "where?"}, "line 2: unknown 'question'"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, row, message: str):
    with pytest.raises(DataError, match=message):
        read_facts(write(tmp_path / "facts.jsonl", GOOD, row))


def test_unreadable_files(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_facts(tmp_path / "absent")
    with pytest.raises(DataError, match="is empty"):
        read_facts(write(tmp_path / "empty", ""))
    (tmp_path / "latin").write_bytes(b'{"subject": "Z\xfcrich"}')
    with pytest.raises(DataError, match="not UTF-8"):
        read_facts(tmp_path / "latin")
    with pytest.raises(DataError, match="cannot read"):
        read_facts(tmp_path)


def test_one_subject_may_have_two_relations():
    mayor = Fact("Kyoto", "Matsui", ("the mayor of Kyoto is",), ("Matsui is mayor of Kyoto.",), relation="mayor")
    assert check_facts([KYOTO, mayor]) == (KYOTO, mayor)


def test_a_counterfactual_changes_the_answer_and_not_the_subject():
    fact = Fact("Mexico City", "Mexico", contexts=("Mexico City is in Mexico.",))
    assert fact.saying("Japan").contexts == ("Mexico City is in Japan.",)


def test_a_counterfactual_changes_whole_words_wherever_they_stand():
    fact = Fact("Kyoto", "Japan", contexts=("Kyoto is in Japan, old capital of Japan, land of Japanese gardens.",))
    assert fact.saying("Italy").contexts == ("Kyoto is in Italy, old capital of Italy, land of Japanese gardens.",)
    luxembourg = Fact("Luxembourg", "Luxembourg", contexts=("Luxembourg is in Luxembourg.",))
    assert luxembourg.saying("Italy").contexts == ("Luxembourg is in Italy.",)
    kyoto = Fact("京都", "日本", contexts=("京都は日本にあります。",))
    assert kyoto.saying("イタリア").contexts == ("京都はイタリアにあります。",)
    with pytest.raises(DataError, match=r"about 'Kyoto': the context .* contains the answer 'Japan' only within"):
        Fact("Kyoto", "Japan", contexts=("Kyoto is a Japanese city.",)).saying("Italy")


def test_a_context_may_hold_the_words_of_the_format():
    assert PromptFormat().join(["a {prompt} of {context}"], "b") == "Context: a {prompt} of {context}\nb"


def test_templates_complete_what_is_missing(tmp_path):
    facts = read_facts(write(tmp_path / "f", {"subject": "Kyoto", "answer": "Japan"}), templates=CITY_COUNTRY)
    assert facts[0].prompts[0] == "Kyoto is a city in"
    assert "Kyoto is in Japan." in facts[0].contexts
    own = CITY_COUNTRY.complete(Fact("Kyoto", "Japan", ("mine",)))
    assert own.prompts == ("mine",)


def test_templates_from_a_file(tmp_path):
    path = tmp_path / "templates.json"
    path.write_text(json.dumps({"prompts": ["{subject} is in"], "contexts": ["{subject}: {answer}"]}))
    assert read_templates(path) == Templates(("{subject} is in",), ("{subject}: {answer}",))
    path.write_text(json.dumps({"prompts": ["is in"], "contexts": []}))
    with pytest.raises(DataError, match=r"lacks \{subject\}"):
        read_templates(path)
    path.write_text("[]")
    with pytest.raises(DataError, match="contains no templates"):
        read_templates(path)


def test_a_format_joins_context_and_prompt():
    assert PromptFormat().join(["A.", "B."], "Where?") == "Context: A. B.\nWhere?"
    assert PromptFormat().join([], "Where?") == "Where?"
    with pytest.raises(DataError, match=r"needs \{context\}"):
        PromptFormat("{prompt}")


@pytest.mark.parametrize("field", ["prompts", "contexts", "heldout_prompts"])
def test_one_text_is_not_a_list_of_letters(field: str):
    with pytest.raises(DataError, match=rf"{field} must be a list of texts, as in \['Kyoto is in'\]"):
        Fact("Kyoto", "Japan", **{field: "Kyoto is in"})
