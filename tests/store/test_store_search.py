"""Searching the fact store: ranks, operators, relevance and its threshold."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invented_places import places
from small_facts import KYOTO, PARIS, ROME, world_facts

from mnemotomy.core.errors import DataError
from mnemotomy.data.fact import Fact
from mnemotomy.store import fact_store, index, schema
from mnemotomy.store.calibrate import calibrate, separating, threshold
from mnemotomy.store.fact_store import FactStore
from mnemotomy.store.matching import relevance
from mnemotomy.store.retriever import statement

# -- searching ---------------------------------------------------------------------------------------------------------


def test_search_ranks_by_bm25_without_case_and_accents(store: FactStore) -> None:
    sao = Fact("São Paulo", "Brazil", contexts=("São Paulo is in Brazil.",))
    store.add([KYOTO, PARIS, sao, Fact("Osaka", "Japan", contexts=("Osaka is in Japan.",))])
    hits = store.search("in which country is SAO PAULO?", 2)
    assert [hit.fact for hit in hits] == [sao, KYOTO]
    assert hits[0].score > hits[1].score > 0
    assert hits[0].relevance > 0.6
    assert hits[1].relevance == 0
    assert [hit.fact.subject for hit in store.search("japan")] == ["Osaka", "Kyoto"]  # the shorter first
    connection = sqlite3.connect(store.path)
    query = "SELECT -bm25(words) FROM words WHERE words MATCH 'in OR which OR country OR is OR sao OR paulo' ORDER BY 1"
    assert connection.execute(query).fetchall()[-1][0] == pytest.approx(hits[0].score)
    connection.close()


@pytest.mark.parametrize(
    "query", ['"', "'", "a AND", "NEAR(", "subject:x", "^*", "-", "Kyoto OR", "(", "\x00", "\ud800"]
)
def test_operators_are_words(store: FactStore, query: str) -> None:
    store.add([KYOTO])
    store.search(query)
    assert store.search(f"{query} kyoto {query}")[0].fact == KYOTO


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(query=st.text())
def test_any_text_is_a_query(store: FactStore, query: str) -> None:
    store.add([KYOTO, PARIS])
    if query.strip():
        assert len(store.search(query)) <= 2
    else:
        with pytest.raises(DataError, match="the query is empty"):
            store.search(query)


def test_a_search_is_for_at_least_one(store: FactStore) -> None:
    with pytest.raises(DataError, match="ask for at least 1"):
        store.search("Kyoto", 0)
    assert store.search("Kyoto") == []


def test_common_words_do_not_choose_but_rank(store: FactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = [Fact(f"place {number}", "here") for number in range(40)]
    facts += [Fact(f"{name} Zembla", "there") for name in ("Old", "New", "Fort")]
    facts += [Fact(f"New {number}", "here") for number in range(5)]
    store.add(facts)
    expected = store.search("New Zembla")[0].score
    monkeypatch.setattr(index, "VISITED", 4)
    monkeypatch.setattr(index, "COUNTED", 10)
    asked: list[str] = []

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = schema.connect(*arguments, **options)
        connection.set_trace_callback(asked.append)
        return connection

    monkeypatch.setattr(fact_store, "connect", traced)
    with FactStore(store.path) as bounded:
        best = bounded.search("New Zembla place")[0]
        assert (best.fact, best.relevance) == (facts[41], 1)
        assert bounded.search("New Zembla")[0].score == pytest.approx(expected)
        assert len(bounded.search("New Zembla place", 50)) == 3
        assert not [query for query in asked if "bm25" in query and "place" in query]
        assert len(bounded.search("new", 50)) == 4
        assert [(hit.fact, hit.score, hit.relevance) for hit in bounded.search("place", 2)] == [
            (fact, 0, 0) for fact in facts[:2]
        ]


def test_a_subject_is_found_however_common_its_words(store: FactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["Ann", "Bea", "Cleo", "Dora"]
    facts = [Fact(f"{a} {b} {c}", "here") for a in names for b in names for c in names if len({a, b, c}) > 1]
    store.add([*facts, Fact("Dora Cleo Bea", "there", relation="home")])
    for visited, counted in ((8, 1000), (8, 10)):  # the rarest word chooses too many; it is too common to rank by
        monkeypatch.setattr(index, "VISITED", visited)
        monkeypatch.setattr(index, "COUNTED", counted)
        with FactStore(store.path) as bounded:
            hits = bounded.search("where do Dora, Bea and Cleo live", 9)
            assert len(hits) == 9
            assert {frozenset(hit.fact.subject.split()) for hit in hits[:7]} == {frozenset(["Dora", "Bea", "Cleo"])}


@pytest.mark.parametrize(
    ("query", "subject"),
    [
        ("Who designed C?", "C"),
        ("Who designed C++?", "C++"),
        ("Who designed c#, and when?", "C#"),
        ("Where is Åland?", "Åland"),
        ("Where is aland?", "Aland"),
    ],
)
def test_signs_and_accents_distinguish_subjects(store: FactStore, query: str, subject: str) -> None:
    store.add(Fact(name, name, contexts=(f"{name} was first.",)) for name in ("C", "C++", "Aland", "Åland"))
    store.add([Fact("C#", "C#", contexts=("C# was a language of Microsoft before it was first of all.",))])
    assert store.search(query, 1)[0].fact.subject == subject
    hits = store.search(query, 10)
    assert hits[0].fact.subject == subject
    assert len({hit.fact.subject for hit in hits}) == len(hits)


def test_any_number_of_hits_may_be_asked_for(store: FactStore) -> None:
    store.add([KYOTO])
    assert len(store.search("Kyoto", 10**20)) == 1


def test_statement() -> None:
    assert statement(PARIS) == "Paris is in France."
    assert statement(ROME) == "Rome: Italy"
    assert statement(replace(ROME, relation="country")) == "Rome, country: Italy"


# -- relevance ---------------------------------------------------------------------------------------------------------


def test_relevance_by_hand() -> None:
    weights = {"new": 1.0, "york": 3.0, "is": 0.0, "big": 1.0}
    asked, subject = ["is", "york", "big"], ["new", "york"]
    assert relevance(asked, subject, {"new", "york", "is"}, weights.__getitem__) == pytest.approx(3 / 4 * 3 / 4)
    assert relevance(["is"], subject, {"is"}, weights.__getitem__) == 0
    assert relevance(["is"], ["is"], {"is"}, weights.__getitem__) == 1
    assert relevance([], [], set(), weights.__getitem__) == 0


def test_the_threshold_accepts_the_world_and_nothing_else(store: FactStore) -> None:
    facts = world_facts()
    store.add(facts)
    calibration = calibrate(store)
    assert calibration.found == 1
    assert calibration.mistaken == 0
    least = threshold(store)
    assert least == calibration.threshold == store.note("threshold")["threshold"]
    for fact in facts:
        for prompt in fact.prompts:
            best = store.search(prompt)[0]
            assert (best.fact, best.relevance >= least) == (fact, True)
            absent = store.search(prompt.replace(fact.subject, "Atlantis"))
            assert all(hit.relevance < least for hit in absent)
    assert all(hit.relevance < least for hit in store.search("In which country is Atlantis?"))


def test_the_threshold_is_kept_until_the_size_changes_much(store: FactStore) -> None:
    with pytest.raises(DataError, match="an empty store has no threshold"):
        threshold(store)
    store.add(places(10))
    threshold(store)
    store.add([*places(20)])
    store.set_note("threshold", {**store.note("threshold"), "threshold": 0.123})
    assert threshold(store) == 0.123
    store.add([*places(21)])
    assert threshold(store) != 0.123
    assert store.note("threshold")["facts"] == 21


@pytest.mark.parametrize(
    ("wanted", "unwanted", "expected"),
    [
        ([0.9, 1.0], [0.1, 0.3], 0.6),
        ([0.2, 0.9, 1.0], [0.1, 0.3, 0.4], 0.65),
        ([1.0], [0.0], 0.5),
        ([0.0], [0.0], 1.0),
        ([0.5], [0.5], 1.5),
    ],
)
def test_the_threshold_separates_best(wanted: list[float], unwanted: list[float], expected: float) -> None:
    assert separating(wanted, unwanted) == pytest.approx(expected)


def test_samples(store: FactStore) -> None:
    facts = list(places(50))
    store.add(facts)
    assert store.sample(50) == facts
    drawn = store.sample(10, seed=1)
    assert len(drawn) == 10
    assert all(fact in facts for fact in drawn)
    assert drawn == store.sample(10, seed=1) != store.sample(10, seed=2)
