"""The commands about facts: results, files, errors in one line and status 2."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from commands import Invoke, call, fails
from tiny_language import save_llama, write_lines

from mnemotomy.data.fact import Fact
from mnemotomy.observe.generation import Continuation
from mnemotomy.store.fact_store import FactStore


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("facts") / "llama")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a store of two facts."""
    monkeypatch.chdir(tmp_path)
    with FactStore("facts.db") as store:
        store.add([Fact("Kyoto", "Japan", contexts=("Kyoto lies in Japan .",)), Fact("Rome", "Italy", relation="in")])
    return tmp_path


@pytest.fixture
def invoke(folder: Path) -> Invoke:
    return call


def stored() -> list[Fact]:
    with FactStore("facts.db", create=False) as store:
        return list(store)


@pytest.mark.parametrize(
    "command",
    [
        "facts",
        "facts add",
        "facts import",
        "facts export",
        "facts search",
        "facts rm",
        "facts update",
        "ask",
    ],
)
def test_help_shows_an_example(invoke: Invoke, command: str) -> None:
    result = invoke(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"Example:\n    mnemotomy {command}" in result.stdout


def test_add_and_update(invoke: Invoke) -> None:
    add = ["facts", "add", "facts.db", "--subject", "Paris", "--answer", "France"]
    result = invoke(*add, "--context", "Paris is in France.", "--context", "France has Paris.")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "facts.db: added, 3 facts\n", "")
    assert invoke(*add).stdout == "facts.db: was there already, 3 facts\n"
    assert invoke("facts", "update", "facts.db", "--subject", "paris", "--answer", "Texas").exit_code == 0
    assert stored()[-1] == Fact("paris", "Texas", contexts=("Paris is in Texas.", "Texas has Paris."))
    update = ["facts", "update", "facts.db", "--subject", "Rome", "--answer", "Spain"]
    assert invoke(*update, "--relation", "in", "--context", "Spain!").stdout == "facts.db: Rome (in): Italy -> Spain\n"
    assert stored()[-1] == Fact("Rome", "Spain", contexts=("Spain!",), relation="in")
    assert invoke("facts", "add", "new.db", "--subject", "x", "--answer", "y").stdout == "new.db: added, 1 fact\n"


def test_import_export_and_remove(invoke: Invoke) -> None:
    write_lines(Path("more.jsonl"), [{"subject": "Paris", "answer": "France"}, {"subject": "Kyoto", "answer": "Japan"}])
    assert invoke("facts", "import", "facts.db", "more.jsonl").stdout == "facts.db: 1 added, 3 facts\n"
    assert invoke("facts", "export", "facts.db", "all.jsonl").stdout == "all.jsonl: 3 facts\n"
    assert invoke("facts", "import", "copy.db", "all.jsonl").stdout == "copy.db: 3 added, 3 facts\n"
    assert invoke("facts", "rm", "facts.db", "kyoto").stdout == "facts.db: 1 deleted, 2 facts left\n"
    assert invoke("facts", "rm", "facts.db", "Rome", "--relation", "in").stdout == "facts.db: 1 deleted, 1 fact left\n"
    assert [fact.subject for fact in stored()] == ["Paris"]


def test_no_store_is_lost_or_left_empty(folder: Path, invoke: Invoke) -> None:
    before = (folder / "facts.db").read_bytes()
    refused = invoke("facts", "export", "facts.db", "facts.db")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert (folder / "facts.db").read_bytes() == before
    for arguments in (("import", "new.db", "none.jsonl"), ("add", "new.db", "--subject", " ", "--answer", "x")):
        assert invoke("facts", *arguments).exit_code == 2
        assert not (folder / "new.db").exists()


def test_a_refused_fact_leaves_what_another_process_stored(
    folder: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def later(source: Path, target: Path) -> None:
        with FactStore(target) as other:
            other.add([Fact("Kyoto", "Japan")])
        link(source, target)

    monkeypatch.setattr(os, "link", later)
    refused = invoke("facts", "add", "new.db", "--subject", "Kyoto", "--answer", "Italy")
    assert refused.exit_code == 2
    assert "has the answer 'Italy', and 'Japan' in the store" in refused.stderr
    with FactStore("new.db") as store:
        assert store.get("Kyoto")[0].answer == "Japan"
    assert not list(folder.glob(".new.db*"))


def test_search(invoke: Invoke) -> None:
    result = invoke("facts", "search", "facts.db", "in which country is Kyoto?", "-k", "1")
    assert result.exit_code == 0
    assert result.stdout.startswith("Kyoto: Japan  [Kyoto lies in Japan .]  score ")
    assert result.stdout.endswith("relevance by words 1.00\n")
    [record] = json.loads(invoke("facts", "search", "facts.db", "rome", "--json", "-").stdout)
    assert record.pop("score") > 0
    assert record.pop("relevance") == 1
    assert record == {"subject": "Rome", "answer": "Italy", "relation": "in"}
    assert invoke("facts", "search", "facts.db", "Atlantis").stdout == "nothing found\n"
    assert invoke("facts", "search", "facts.db", "Atlantis", "--json", "-").stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["add", "facts.db", "--subject", "kyoto", "--answer", "Italy"],
            "the fact: 'kyoto' has the answer 'Italy', and",
        ),
        (["add", "facts.db", "--subject", "x", "--answer", ""], "the fact: 'answer' is empty"),
        (["add", "facts.db", "--subject", "x", "--answer", "y", "--context", "z"], "'y' is not in its context 'z'"),
        (["add", "taken", "--subject", "x", "--answer", "y"], "taken is a folder"),
        (["update", "facts.db", "--subject", "Rome", "--answer", "y"], "with the relation '', only with 'in'"),
        (["update", "none.db", "--subject", "Rome", "--answer", "y"], "the fact store none.db does not exist"),
        (["import", "facts.db", "bad.jsonl"], "bad.jsonl line 1: 'answer' is missing"),
        (["import", "facts.db", "none.jsonl"], "the file of facts none.jsonl does not exist"),
        (["import", "bad.jsonl", "bad.jsonl"], "bad.jsonl is not a fact store; give another path"),
        (
            ["export", "none.db", "all.jsonl"],
            "the fact store none.db does not exist; make one with 'mnemotomy facts add'",
        ),
        (["export", "facts.db", "bad.jsonl/x"], "bad.jsonl"),
        (["search", "none.db", "x"], "the fact store none.db does not exist"),
        (["search", "facts.db", " "], "the query is empty; give words to search for"),
        (["rm", "facts.db", "Atlantis"], "facts.db has no fact about 'Atlantis'"),
    ],
)
def test_facts_fail_in_one_line(folder: Path, invoke: Invoke, arguments: list[str], message: str) -> None:
    (folder / "taken").mkdir()
    (folder / "bad.jsonl").write_text('{"subject": "Rome"}\n')
    before = stored()
    fails(invoke("facts", *arguments), message)
    assert stored() == before
    assert not (folder / "none.db").exists()


def test_ask(invoke: Invoke, ready: Path) -> None:
    question = "In which country is Kyoto ?"
    record = json.loads(invoke("ask", str(ready), "facts.db", question, "--json", "-").stdout)
    assert record["known"] is True
    assert record["prompt"] == f"Context: Kyoto lies in Japan .\n{question}"
    assert [fact["subject"] for fact in record["facts"]] == ["Kyoto"]
    result = invoke("ask", str(ready), "facts.db", question, "--json", "a.json", "--in-context", "{context} {prompt}")
    assert result.exit_code == 0
    assert "read, but not said: Kyoto: Japan  [Kyoto lies in Japan .]  score " in result.stdout
    assert json.loads(Path("a.json").read_text())["prompt"] == f"Kyoto lies in Japan . {question}"
    result = invoke("ask", str(ready), "facts.db", "In which country is Atlantis ?")
    unknown, why = result.stdout.splitlines()
    assert (result.exit_code, unknown) == (0, "I do not know.")
    assert re.match(r"no fact reaches the relevance of 0\.\d\d; the nearest is \w+.* relevance by words 0\.\d\d$", why)
    record = json.loads(invoke("ask", str(ready), "facts.db", question, "--threshold", "1.5", "--json", "-").stdout)
    assert record.pop("nearest")["subject"] == "Kyoto"
    assert record == {
        "answer": "I do not know.",
        "known": False,
        "cut": False,
        "threshold": 1.5,
        "facts": [],
        "prompt": "",
        "written": "I do not know.",
    }


@pytest.mark.parametrize(
    ("written", "told"), [("Japan .", "from Kyoto: Japan"), ("Norway .", "read, but not said: Ky")]
)
def test_ask_tells_a_fact_that_was_said_from_one_that_was_read(
    invoke: Invoke, ready: Path, monkeypatch: pytest.MonkeyPatch, written: str, told: str
) -> None:
    monkeypatch.setattr("mnemotomy.store.reader.continuations", lambda *_: [[Continuation(written, cut=False)]])
    assert f"\n{told}" in invoke("ask", str(ready), "facts.db", "In which country is Kyoto ?").stdout


def test_ask_shows_the_answer_and_not_what_a_base_model_writes_behind_it(
    invoke: Invoke, ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mnemotomy.store.reader.continuations", lambda *_: [[Continuation("Japan\nC: Japan's\nD:", cut=True)]]
    )
    ask = ["ask", str(ready), "facts.db", "In which country is Kyoto ?"]
    assert invoke(*ask).stdout.splitlines()[0] == "Japan"  # which the limit did not cut
    record = json.loads(invoke(*ask, "--json", "-").stdout)
    assert (record["answer"], record["written"]) == ("Japan", "Japan\nC: Japan's\nD:")
    shown = invoke(*ask, "--chat").stdout  # a chat model ends its answers itself
    assert "C: Japan's\nD: …\ncut after 16 tokens; give --max-new-tokens 64 to read on\n" in shown


def test_ask_says_why_an_answer_is_unknown(invoke: Invoke, ready: Path) -> None:
    result = invoke("ask", str(ready), "facts.db", "Zanzibar ?")
    assert result.stdout == "I do not know.\nno fact in the store shares a word with the question\n"
    for subject in {fact.subject for fact in stored()}:
        assert invoke("facts", "rm", "facts.db", subject).exit_code == 0
    assert invoke("ask", str(ready), "facts.db", "Kyoto ?").stdout == "I do not know.\nthe store is empty\n"


def test_ask_takes_the_format_of_the_model(invoke: Invoke, ready: Path, folder: Path) -> None:
    model = folder / "model"
    model.mkdir()
    for path in ready.iterdir():
        (model / path.name).symlink_to(path)
    (model / "prompt_format.json").write_text(json.dumps({"in_context": "Texte: {context}\n{prompt}"}))
    ask = ["ask", "model", "facts.db", "Kyoto ?", "--json", "-"]
    assert json.loads(invoke(*ask).stdout)["prompt"] == "Texte: Kyoto lies in Japan .\nKyoto ?"
    assert json.loads(invoke(*ask, "--in-context", "{context} {prompt}").stdout)["prompt"].startswith("Kyoto lies")
    chat = json.loads(invoke(*ask, "--chat").stdout)["prompt"]
    assert "<|im_start|>user\nTexte: " in chat
    (model / "prompt_format.json").write_text("{")
    fails(invoke(*ask), "model/prompt_format.json is not valid JSON")


def test_ask_fails_in_one_line(invoke: Invoke, ready: Path) -> None:
    fails(invoke("ask", str(ready), "none.db", "Kyoto ?"), "the fact store none.db does not exist")
    fails(invoke("ask", "./none", "facts.db", "Kyoto ?"), "the model folder none does not exist")
    fails(invoke("ask", str(ready), "facts.db", " "), "the query is empty")
    fails(invoke("ask", str(ready), "facts.db", "Kyoto ?", "--in-context", "{prompt}"), "needs {context}, and {prompt}")
    fails(invoke("ask", str(ready), "facts.db", "Kyoto ?", "--device", "nowhere"), "'nowhere'")
