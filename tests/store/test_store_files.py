"""Facts to files and back, and files that are damaged or not stores."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from counted import Counted
from invented_places import places
from small_facts import KYOTO, PARIS, ROME, change

from mnemotomy.core.errors import DataError, StoreError
from mnemotomy.data import fact_file
from mnemotomy.data.fact import Fact
from mnemotomy.data.fact_file import read_facts
from mnemotomy.store import schema, seal
from mnemotomy.store.fact_store import FactStore
from mnemotomy.store.schema import VERSION


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
        (b"", "is empty; write one fact per line"),
        (b"\xef\xbb\xbf\n\n", "is empty"),
        (b'{"subject": "Rome", "answer": "Italy"}\n{"subject"', "line 2: not JSON"),
        (b'{"subject": "Rome", "answer": "Italy"}\n\n{"subject": "rome", "answer": "Spain"}', "line 3: 'rome' has the"),
        (b'{"subject": "Rome", "answer": "\xff"}', "line 1: not UTF-8"),
        (b'{"subject": "Rome"}', "line 1: 'answer' is missing"),
        (None, "the file of facts .* does not exist"),
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
        (lambda path: path.write_text("subject: Kyoto\n" * 100), "is not a fact store; give another path"),
        (lambda path: path.write_text("short"), "is not a fact store; give another path"),
        (lambda path: _database(path, "CREATE TABLE t (x)"), "another program's database"),
        (lambda path: _database(path, "PRAGMA user_version = 3", "VACUUM"), "another program's database"),
        (_newer, "version 3, newer than this mnemotomy's 2; upgrade"),
    ],
)
def test_other_files_are_refused_and_kept(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "facts.db"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(StoreError, match=message):
        FactStore(path)
    assert not path.is_file() or path.read_bytes() == before


def test_a_missing_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"the fact store .*facts\.db does not exist; make one"):
        FactStore(tmp_path / "facts.db", create=False)
    with pytest.raises(StoreError, match="does not exist"):
        FactStore(tmp_path / "none" / "facts.db")
    (tmp_path / "empty.db").touch()
    with FactStore(tmp_path / "empty.db") as store:
        assert len(store) == 0
    with pytest.raises(StoreError, match="was closed; open it again"):
        store.get("Kyoto")


def test_an_export_is_one_state_of_the_store(tmp_path: Path, store: FactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add(places(1500))
    first = next(iter(store))
    written = fact_file.format_fact
    others: list[str] = []

    def interrupted(fact: Fact) -> str:
        if not others:
            with FactStore(store.path) as other, pytest.raises(StoreError, match="is in use by another process"):
                other.update(replace(first, answer="elsewhere", contexts=()))
            others.append("waits")
        return written(fact)

    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.1)
    monkeypatch.setattr(fact_file, "format_fact", interrupted)
    assert store.export_file(tmp_path / "all.jsonl") == 1500
    assert others
    with FactStore(tmp_path / "again.db") as again:
        assert again.import_file(tmp_path / "all.jsonl") == 1500


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_is_written_to(tmp_path: Path, store: FactStore) -> None:
    store.add([KYOTO])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert store.export_file(pipe) == 1
    reader.join(10)
    assert pipe.is_fifo()
    assert json.loads(read[0])["subject"] == "Kyoto"


def test_a_damaged_store_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "facts.db"
    with FactStore(path) as store:
        store.add(places(300))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x7f" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"), FactStore(path) as store:
        list(store)


def test_a_damaged_row_is_reported(tmp_path: Path) -> None:
    with FactStore(tmp_path / "facts.db") as store:
        store.add([KYOTO])
        store.set_note("threshold", {})
        change(store, "UPDATE facts SET texts = '{'")
        change(store, "UPDATE notes SET value = '{'")
        with pytest.raises(StoreError, match="is damaged"):
            list(store)
        with pytest.raises(StoreError, match="is damaged"):
            store.note("threshold")
        change(store, "DELETE FROM facts")
        with pytest.raises(StoreError, match="is damaged"):
            store.search("Kyoto")


def _everything(path: Path) -> tuple[Any, ...]:
    with FactStore(path, create=False) as store:
        found = [(one.fact, one.score) for word in ("Kyoto", "Italy") for one in store.search(word)]
        return list(store), len(store), store.last_id(), store.note("threshold"), found, store.get("Rome")


@pytest.mark.parametrize("tries", [60, pytest.param(1500, marks=pytest.mark.slow)])
def test_a_flipped_byte_and_a_lost_end_are_refused_or_change_nothing(
    tmp_path: Path, tries: int, counted: Counted
) -> None:
    path = tmp_path / "facts.db"
    with FactStore(path) as store:
        store.add([KYOTO, PARIS, ROME, *places(200)])
        store.delete("Paris")
        store.set_note("threshold", {"relevance": 0.5})
    content, before, draw = path.read_bytes(), _everything(path), random.Random(0)
    with counted("damaged files", "fact store") as outcome:
        for number in range(tries + tries // 4):
            place = draw.randrange(1, len(content))
            damaged = bytearray(content)
            damaged[place] ^= draw.choice([1, 4, 32, 255])
            path.write_bytes(damaged if number < tries else content[:place])
            try:
                assert _everything(path) == before
                outcome.right += 1
            except StoreError:
                outcome.refused += 1
            for left in tmp_path.glob("facts.db-*"):
                left.unlink()
    assert outcome.right < 0.01 * (tries + tries // 4)  # SQLite's counters of transactions
    path.write_bytes(content)
    assert _everything(path) == before


def test_a_damaged_store_is_exported_as_it_is(tmp_path: Path) -> None:
    with FactStore(tmp_path / "facts.db") as store:
        store.add([KYOTO, ROME])
        change(store, "UPDATE facts SET answer = 'Spain' WHERE subject = 'Rome'")
    with pytest.raises(StoreError, match=r"is damaged, or was changed by another program.*--no-verify"):
        FactStore(store.path)
    with FactStore(store.path, verify=False) as opened:
        assert opened.export_file(tmp_path / "facts.jsonl") == 2
        with pytest.raises(StoreError, match="cannot be written"):
            opened.delete("Rome")


def test_a_store_without_a_hash_gets_one_with_the_next_change(tmp_path: Path) -> None:
    with FactStore(tmp_path / "facts.db") as store:
        store.add([KYOTO])
        change(store, "DELETE FROM notes")
        change(store, "PRAGMA user_version = 1")
    with pytest.warns(UserWarning, match="an older version wrote it without a hash of its content"):
        old = FactStore(store.path)
    with old:
        assert old.get("Kyoto") == [KYOTO]
        old.add([ROME])
    assert len(_everything(store.path)[0]) == 2
    change(old, "DELETE FROM notes")
    with pytest.raises(StoreError, match="is damaged"):
        FactStore(store.path)


def test_a_writer_killed_before_the_hash_leaves_a_store_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(connection: sqlite3.Connection) -> None:
        raise Killed

    with FactStore(tmp_path / "facts.db") as store, monkeypatch.context() as patch:
        patch.setattr(schema, "seal", kill)
        with pytest.raises(Killed):
            store.add([KYOTO])
    with pytest.warns(UserWarning, match="cannot be checked, as the process that changed it last was stopped"):
        opened = FactStore(store.path)
    with opened:
        assert list(opened) == [KYOTO]
        opened.add([ROME])
    assert len(_everything(store.path)[0]) == 2


def test_a_change_is_stored_even_if_its_hash_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(connection: sqlite3.Connection, value: str) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with FactStore(tmp_path / "facts.db") as store:
        with monkeypatch.context() as patch:
            patch.setattr(seal, "_hash", full)
            assert store.add([KYOTO]) == 1
        with pytest.warns(UserWarning, match="cannot be checked"), FactStore(store.path) as other:
            assert list(other) == [KYOTO]
        store.set_note("threshold", {})
    assert _everything(store.path)[0] == [KYOTO]


def test_the_hash_is_the_same_without_a_descriptor_to_read_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FactStore(tmp_path / "facts.db") as store:
        store.add(places(3000))
        store.set_note("long", "x" * 10_000)  # the notes no longer fit on one page
    content, before = store.path.read_bytes(), _everything(store.path)
    monkeypatch.setattr(seal, "_OPEN_FILES", tmp_path / "none")
    assert _everything(store.path) == before
    with FactStore(store.path) as store:
        store.set_note("long", "y" * 10_000)
    monkeypatch.undo()
    assert _everything(store.path) == before
    for changed in (content[:-9000] + b"\1" + content[-8999:], content[:-1]):
        store.path.write_bytes(changed)
        with pytest.raises(StoreError, match="is damaged"):
            FactStore(store.path)


def test_a_very_large_store_has_no_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "MOST", 10_000)
    with FactStore(tmp_path / "facts.db") as store:
        store.add([KYOTO])
    change(store, "UPDATE facts SET answer = 'Spain'")
    with FactStore(store.path) as opened:
        assert opened.get("Kyoto")[0].answer == "Spain"


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("CREATE TRIGGER t AFTER INSERT ON facts BEGIN UPDATE facts SET answer = 'x'; END", "trigger 't'"),
        ("CREATE VIEW v AS SELECT * FROM facts", "view 'v'"),
        ("CREATE TABLE more (a)", "table 'more'"),
        ("CREATE INDEX i ON facts (answer)", "index 'i'"),
        ("DROP TABLE notes; CREATE VIEW notes AS SELECT 'k' AS name, 'v' AS value", "view 'notes'"),
        ("DROP TABLE notes; CREATE TABLE notes (name, value DEFAULT (upper('x')))", "table 'notes'"),
    ],
)
def test_a_store_with_sql_of_its_own_is_refused(tmp_path: Path, sql: str, name: str) -> None:
    path = tmp_path / "facts.db"
    with FactStore(path) as store:
        store.add([Fact("Kyoto", "Japan")])
    with FactStore(path) as store:
        assert len(store) == 1
    connection = sqlite3.connect(path)
    connection.executescript(sql)
    connection.close()
    with pytest.raises(StoreError, match=f"contains the {name}, which no fact store has"):
        FactStore(path)
