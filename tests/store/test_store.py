"""The fact store: what goes in comes out, contradictions and deletions, several processes, against a dict."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from invented_places import places
from small_facts import KYOTO, PARIS, ROME, change

from mnemotomy.core.errors import DataError
from mnemotomy.data.fact import Fact
from mnemotomy.data.fact_file import format_fact
from mnemotomy.store import schema
from mnemotomy.store.fact_store import FactStore

# -- adding, changing, deleting ----------------------------------------------------------------------------------------


def test_facts_come_back_whole_and_after_reopening(tmp_path: Path, store: FactStore) -> None:
    assert store.add([KYOTO, PARIS, ROME]) == 3
    assert (len(store), list(store)) == (3, [KYOTO, PARIS, ROME])
    assert store.get(" kyOTO ") == [KYOTO] == store.get("Kyoto", "country")
    assert store.get("Kyoto", "") == [] == store.get("Atlantis")
    with FactStore(tmp_path / "facts.db", create=False) as again:
        assert list(again) == [KYOTO, PARIS, ROME]
    assert [path.name for path in tmp_path.iterdir()] == ["facts.db"]


def test_a_stored_fact_is_left_as_it_is(store: FactStore) -> None:
    assert store.add([PARIS, PARIS]) == 1
    assert store.add([replace(PARIS, subject="PARIS ", contexts=())]) == 0
    assert list(store) == [PARIS]
    assert store.add([replace(PARIS, relation="country", answer="Gaul", contexts=())]) == 1
    assert [fact.answer for fact in store.get("paris")] == ["France", "Gaul"]


@pytest.mark.parametrize(
    ("fact", "message"),
    [
        (Fact("paris", "Texas"), "fact 2: 'paris' has the answer 'Texas', and 'France' in the store or earlier"),
        (Fact("rome", "Spain", where="f.jsonl line 7"), "^f.jsonl line 7: 'rome' has the answer 'Spain', and 'Italy'"),
        (Fact("Lyon", "France", contexts=("Lyon is big.",)), "fact 2: the answer 'France' is not in its context"),
        (Fact(" ", "France"), "fact 2: 'subject' is empty"),
        (Fact("Lyon", "\ud800"), "fact 2: a text contains half a surrogate pair"),
    ],
)
def test_a_bad_fact_undoes_its_call(store: FactStore, fact: Fact, message: str) -> None:
    store.add([PARIS])
    with pytest.raises(DataError, match=message):
        store.add([ROME, fact])
    assert list(store) == [PARIS]
    assert store.search("Rome") == []


def test_adding_streams(store: FactStore) -> None:
    def facts() -> Iterator[Fact]:
        for number in range(5):
            yield Fact(f"place {number}", "here")
            assert len(store) == number + 1  # it was taken before the next was made

    assert store.add(facts()) == 5


def test_a_failing_source_adds_nothing(store: FactStore) -> None:
    def facts() -> Iterator[Fact]:
        yield PARIS
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.add(facts())
    assert len(store) == 0
    assert store.add([PARIS]) == 1


def test_updating(store: FactStore) -> None:
    store.add([KYOTO, PARIS])
    store.update(Fact("kyoto", "Italy", relation="country"))
    changed = replace(KYOTO, subject="kyoto", answer="Italy", contexts=("Kyoto is in Italy.",))
    assert store.get("Kyoto") == [changed]
    assert store.search("Japan") == []
    assert [hit.fact for hit in store.search("Italy")] == [changed]
    store.update(Fact("Paris", "Texas", contexts=("Paris lies in Texas.",)))
    assert store.get("Paris")[0].contexts == ("Paris lies in Texas.",)
    with pytest.raises(DataError, match="with the relation '', only with 'country'; give one of these"):
        store.update(Fact("Kyoto", "Japan"))
    with pytest.raises(DataError, match="no fact about 'Lyon'; add it first"):
        store.update(Fact("Lyon", "France"))
    with pytest.raises(DataError, match="'Spain' is not in its context"):
        store.update(Fact("Paris", "Spain", contexts=("Paris is nice.",)))
    assert [fact.answer for fact in store] == ["Italy", "Texas"]


def test_deleting(store: FactStore) -> None:
    store.add([KYOTO, replace(KYOTO, relation="home", answer="Honshu", contexts=()), PARIS])
    assert store.delete("kyoto", "home") == 1
    assert store.delete("KYOTO") == 1
    assert list(store) == [PARIS]
    assert store.search("Kyoto Japan Honshu") == []
    with pytest.raises(DataError, match=r"facts\.db has no fact about 'Kyoto'"):
        store.delete("Kyoto")
    with pytest.raises(DataError, match="with the relation 'home', only with ''"):
        store.delete("Paris", "home")


@pytest.mark.parametrize("others", [0, 3, 400])
def test_nothing_of_a_deleted_fact_is_left_in_the_file(tmp_path: Path, others: int) -> None:
    words = (b"zembla", b"qwertzuia", b"asdfghjk", b"yxcvbnm")
    secret = Fact("Zembla", "Qwertzuia", ("Asdfghjk?",), ("Zembla is yxcvbnm Qwertzuia.",))
    with FactStore(tmp_path / "facts.db") as store:
        store.add(places(others))
        store.add([secret, Fact("Blefuscu", "Yxcvbnmland")])

        def content() -> bytes:
            return b"".join(path.read_bytes() for path in tmp_path.iterdir()).lower()

        assert all(word in content() for word in words)
        store.update(Fact("Blefuscu", "Lilliput"))
        assert b"yxcvbnmland" not in content()
        store.delete("Zembla")
        assert not [word for word in words if word in content()]
        assert b"lilliput" in content()


# -- several processes -------------------------------------------------------------------------------------------------


def _add_some(path: Path, name: str, start: multiprocessing.synchronize.Barrier) -> None:
    start.wait(30)
    with FactStore(path) as store:
        for number in range(40):
            store.add([Fact(f"{name} {number}", name), Fact(f"shared {number}", "both")])
            store.search(name)


def test_two_processes_add_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(2)
    path = tmp_path / "facts.db"
    processes = [context.Process(target=_add_some, args=(path, name, start)) for name in ("left", "right")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    with FactStore(path) as store:
        assert len(store) == 120
        assert len(store.search("left", 100)) == len(store.search("right", 100)) == 40
        assert len({fact.subject for fact in store}) == 120


def test_a_store_that_another_process_makes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "facts.db"
    others: list[threading.Thread] = []

    class Interrupted(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            result = super().execute(sql, *parameters)
            if "application_id" in sql and not others:  # what is read next must belong to the same state of the file
                others.append(threading.Thread(target=lambda: schema.connect(path).close()))
                others[0].start()
                others[0].join(0.5)
            return result

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *place, **how: connect(*place, **(how | {"factory": Interrupted})))
    schema.connect(path).close()
    others[0].join(60)
    with FactStore(path) as store:
        assert store.add([KYOTO]) == 1


def test_one_connection_sees_what_another_wrote(tmp_path: Path, store: FactStore) -> None:
    store.add([KYOTO])
    assert store.search("Paris") == []
    with FactStore(tmp_path / "facts.db") as other:
        other.add([PARIS])
        assert store.search("Paris")[0].fact == PARIS
        assert len(store) == 2


# -- against a dict ----------------------------------------------------------------------------------------------------


NAMES = st.sampled_from(["Kyoto", "kyoto", "São Paulo", "New York", "York", "AND", '"x"'])
ANSWERS = st.sampled_from(["Japan", "Brazil", "New York State", "NOT"])
RELATIONS = st.sampled_from(["", "country"])


class AgainstADict(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = FactStore(":memory:")
        self.model: dict[tuple[str, str], Fact] = {}

    @rule(facts=st.lists(st.builds(Fact, NAMES, ANSWERS, relation=RELATIONS), max_size=3))
    def add(self, facts: list[Fact]) -> None:
        wanted = dict(self.model)
        for fact in facts:
            kept = wanted.setdefault((fact.subject.casefold(), fact.relation), fact)
            if kept.answer != fact.answer:
                with pytest.raises(DataError, match="keep one"):
                    self.store.add(facts)
                return
        assert self.store.add(facts) == len(wanted) - len(self.model)
        self.model = wanted

    @rule(fact=st.builds(Fact, NAMES, ANSWERS, relation=RELATIONS))
    def update(self, fact: Fact) -> None:
        key = (fact.subject.casefold(), fact.relation)
        if key in self.model:
            self.store.update(fact)
            self.model[key] = fact
        else:
            with pytest.raises(DataError, match="no fact about"):
                self.store.update(fact)

    @rule(subject=NAMES, relation=st.none() | RELATIONS)
    def delete(self, subject: str, relation: str | None) -> None:
        gone = [key for key in self.model if key[0] == subject.casefold() and relation in (None, key[1])]
        if gone:
            assert self.store.delete(subject, relation) == len(gone)
        else:
            with pytest.raises(DataError, match="no fact about"):
                self.store.delete(subject, relation)
        for key in gone:
            del self.model[key]

    @rule(subject=NAMES)
    def search(self, subject: str) -> None:
        hits = self.store.search(subject, 50)
        found = {(hit.fact.subject.casefold(), hit.fact.relation) for hit in hits}
        assert {key for key in self.model if key[0] == subject.casefold()} <= found <= set(self.model)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)

    @invariant()
    def same(self) -> None:
        assert sorted(map(format_fact, self.store)) == sorted(map(format_fact, self.model.values()))
        assert len(self.store) == len(self.model)

    def teardown(self) -> None:
        self.store.close()


AgainstADict.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestAgainstADict = AgainstADict.TestCase


def test_names_ignore_the_encoding_of_accents(tmp_path: Path) -> None:
    composed, decomposed = "Z\u00fcrich", "Zu\u0308rich"
    with FactStore(tmp_path / "facts.db") as store:
        store.add([Fact(composed, "Switzerland")])
        assert store.add([Fact(decomposed, "Switzerland")]) == 0
        with pytest.raises(DataError, match="has the answer 'Austria', and 'Switzerland' in the store"):
            store.add([Fact(decomposed, "Austria")])
        assert store.delete(decomposed) == 1
        assert not store.search("Zürich")


def test_a_decomposed_name_in_an_older_store_is_not_added_again(tmp_path: Path) -> None:
    with FactStore(tmp_path / "facts.db") as store:
        store.add([Fact("Zürich", "Switzerland")])
        change(store, "UPDATE facts SET name = ?", "zu\u0308rich")
        assert store.add([Fact("Zürich", "Switzerland")]) == 0
        with pytest.raises(DataError, match="has the answer 'Austria', and 'Switzerland' in the store"):
            store.add([Fact("Zürich", "Austria")])
        store.update(Fact("Zürich", "Austria"))
        assert [fact.answer for fact in store] == ["Austria"]
