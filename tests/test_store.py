"""The fact store: what goes in comes out, contradictions and deletions, searching, files, several processes."""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mnemotomy.bench.store import places, run_store
from mnemotomy.data.fact import Fact
from mnemotomy.data.fact_file import format_fact, read_facts
from mnemotomy.data.world import small_world
from mnemotomy.errors import DataError, StoreError
from mnemotomy.ram import index
from mnemotomy.ram.calibrate import calibrate, separating, threshold
from mnemotomy.ram.relevance import relevance
from mnemotomy.ram.retriever import statement
from mnemotomy.ram.schema import VERSION
from mnemotomy.ram.store import FactStore

KYOTO = Fact("Kyoto", "Japan", ("Kyoto is in",), ("Kyoto is in Japan.",), ("Kyoto belongs to",), "country")
PARIS = Fact("Paris", "France", contexts=("Paris is in France.",))
ROME = Fact("Rome", "Italy")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FactStore]:
    with FactStore(tmp_path / "facts.db") as opened:
        yield opened


def world_facts() -> list[Fact]:
    """The bundled world's facts with all the prompts of its phrasings, each stated once."""
    world = small_world()
    found = []
    for fact in world.facts:
        texts = [phrasing.text for phrasing in world.phrasings if phrasing.relation == fact.relation]
        stated = f"{fact.subject} is in {fact.answer}" if fact.relation == "country" else fact.say(texts[0])
        prompts = tuple(dict.fromkeys(map(fact.ask, texts)))
        found.append(Fact(fact.subject, fact.answer, prompts, (stated,), relation=fact.relation))
    return found


# -- adding, changing, deleting ------------------------------------------------------------------------------------


def test_facts_come_back_whole_and_after_reopening(tmp_path: Path, store: FactStore) -> None:
    assert store.add([KYOTO, PARIS, ROME]) == 3
    assert (len(store), list(store)) == (3, [KYOTO, PARIS, ROME])
    assert store.get(" kyOTO ") == [KYOTO] == store.get("Kyoto", "country")
    assert store.get("Kyoto", "") == [] == store.get("Atlantis")
    with FactStore(tmp_path / "facts.db", create=False) as again:
        assert list(again) == [KYOTO, PARIS, ROME]
    assert [path.name for path in tmp_path.iterdir()] == ["facts.db"]


def test_what_is_stored_already_is_left(store: FactStore) -> None:
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
        (Fact("Lyon", "\ud800"), "fact 2: a text holds half a character"),
    ],
)
def test_a_bad_fact_leaves_nothing_of_its_call(store: FactStore, fact: Fact, message: str) -> None:
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
    with pytest.raises(DataError, match="no fact about 'Kyoto' with the relation '', only with 'country'"):
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


# -- searching -----------------------------------------------------------------------------------------------------


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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
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
    with FactStore(store.path) as bounded:
        asked: list[str] = []
        bounded._connection.set_trace_callback(asked.append)
        best = bounded.search("New Zembla place")[0]
        assert (best.fact, best.relevance) == (facts[41], 1)
        assert bounded.search("New Zembla")[0].score == pytest.approx(expected)
        assert len(bounded.search("New Zembla place", 50)) == 3
        assert not [query for query in asked if "bm25" in query and "place" in query]
        assert len(bounded.search("new", 50)) == 4
        assert [(hit.fact, hit.score, hit.relevance) for hit in bounded.search("place", 2)] == [
            (fact, 0, 0) for fact in facts[:2]
        ]


def test_statement() -> None:
    assert statement(PARIS) == "Paris is in France."
    assert statement(ROME) == "Rome: Italy"
    assert statement(replace(ROME, relation="country")) == "Rome, country: Italy"


# -- relevance -----------------------------------------------------------------------------------------------------


def test_relevance_by_hand() -> None:
    weights = {"new": 1.0, "york": 3.0, "is": 0.0, "big": 1.0}
    asked, subject = ["is", "york", "big"], ["new", "york"]
    assert relevance(asked, subject, {"new", "york", "is"}, weights.__getitem__) == pytest.approx(3 / 4 * 3 / 4)
    assert relevance(["is"], subject, {"is"}, weights.__getitem__) == 0
    assert relevance(["is"], ["is"], {"is"}, weights.__getitem__) == 1
    assert relevance([], [], set(), weights.__getitem__) == 0


def test_the_threshold_knows_the_world_and_nothing_else(store: FactStore) -> None:
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


# -- files ---------------------------------------------------------------------------------------------------------


def test_facts_to_a_file_and_back(tmp_path: Path, store: FactStore) -> None:
    store.add([KYOTO, PARIS, ROME])
    path = tmp_path / "out" / "facts.jsonl"
    assert store.export_file(path) == 3
    assert read_facts(path, trainable=False) == (KYOTO, PARIS, ROME)
    with FactStore(tmp_path / "other.db") as other:
        assert other.import_file(path) == 3
        assert list(other) == [KYOTO, PARIS, ROME]
        assert other.import_file(path) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; write one fact a line"),
        (b"\xef\xbb\xbf\n\n", "is empty"),
        (b'{"subject": "Rome", "answer": "Italy"}\n{"subject"', "line 2: not JSON"),
        (b'{"subject": "Rome", "answer": "Italy"}\n\n{"subject": "rome", "answer": "Spain"}', "line 3: 'rome' has the"),
        (b'{"subject": "Rome", "answer": "\xff"}', "line 1: not UTF-8"),
        (b'{"subject": "Rome"}', "line 1: 'answer' is missing"),
        (None, "there is no file of facts"),
    ],
)
def test_a_bad_file_adds_nothing(tmp_path: Path, store: FactStore, content: bytes | None, message: str) -> None:
    path = tmp_path / "facts.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        store.import_file(path)
    with pytest.raises(DataError, match="cannot read"):
        store.import_file(tmp_path)
    assert len(store) == 0


def _database(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for command in statements:
        connection.execute(command)
    connection.commit()
    connection.close()


def _newer(path: Path) -> None:
    FactStore(path).close()
    _database(path, f"PRAGMA user_version = {VERSION + 1}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "is a folder; name the file"),
        (lambda path: path.write_text("subject: Kyoto\n" * 100), "is no fact store; give another path"),
        (lambda path: path.write_text("short"), "is no fact store; give another path"),
        (lambda path: _database(path, "CREATE TABLE t (x)"), "a database of another program"),
        (lambda path: _database(path, "PRAGMA user_version = 3", "VACUUM"), "a database of another program"),
        (_newer, "version 2, and this is mnemotomy for 1; upgrade"),
    ],
)
def test_what_is_no_store_is_refused_and_kept(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "facts.db"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(StoreError, match=message):
        FactStore(path)
    assert not path.is_file() or path.read_bytes() == before


def test_where_there_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no fact store .*facts\.db; make one"):
        FactStore(tmp_path / "facts.db", create=False)
    with pytest.raises(StoreError, match="there is no folder"):
        FactStore(tmp_path / "none" / "facts.db")
    (tmp_path / "empty.db").touch()
    with FactStore(tmp_path / "empty.db") as store:
        assert len(store) == 0
    with pytest.raises(StoreError, match="was closed; open it again"):
        store.get("Kyoto")


def test_a_damaged_store_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "facts.db"
    with FactStore(path) as store:
        store.add(places(300))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x7f" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"), FactStore(path) as store:
        list(store)


# -- several processes ---------------------------------------------------------------------------------------------


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


def test_one_connection_sees_what_another_wrote(tmp_path: Path, store: FactStore) -> None:
    store.add([KYOTO])
    assert store.search("Paris") == []
    with FactStore(tmp_path / "facts.db") as other:
        other.add([PARIS])
        assert store.search("Paris")[0].fact == PARIS
        assert len(store) == 2


# -- against a dict ------------------------------------------------------------------------------------------------

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


# -- the measurement -----------------------------------------------------------------------------------------------


def test_the_bench_measures(tmp_path: Path) -> None:
    record = run_store(facts=300, queries=20, folder=tmp_path)
    assert json.loads(json.dumps(record)) == record
    assert record["queries"]["subject"]["relevant"] == record["queries"]["question"]["relevant"] == 1
    assert record["queries"]["unknown"]["relevant"] == 0
    assert list(places(5)) == list(places(9))[:5]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_hundred_thousand_facts_are_found_quickly(tmp_path: Path) -> None:
    record = run_store(facts=100_000, queries=200, folder=tmp_path)
    assert all(kind["p50_ms"] < 50 for kind in record["queries"].values())
    assert record["queries"]["question"]["first"] > 0.9
