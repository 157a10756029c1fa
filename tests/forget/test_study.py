"""Trials that are kept: used by one search at a time, and only for what they were measured on."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from learned_cities import COUNTRIES, TEMPLATE, examples, trained

import mnemotomy as mt
from mnemotomy.core.errors import DataError
from mnemotomy.core.locks import locked
from mnemotomy.forget import found
from mnemotomy.forget.search import Search

OPTIONS = mt.ForgetOptions(trials=2, template=TEMPLATE, two_sided=False, precision="no", progress=False)


@pytest.fixture
def options(tmp_path: Path) -> mt.ForgetOptions:
    return replace(OPTIONS, study=tmp_path / "study.db")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mt.SurgeryWarning)
        yield


def search(options: mt.ForgetOptions, city: str = "Kyoto") -> found.Found:
    model, tokenizer = trained()
    others = [one for one in COUNTRIES if one != city]
    return mt.forget(model, tokenizer, examples([city]), examples(others), options)


def test_a_second_search_of_one_study_is_refused(options: mt.ForgetOptions, tmp_path: Path) -> None:
    with locked(tmp_path / "study.db.lock", "it"), pytest.raises(DataError, match=r"study\.db is in use by another"):
        search(options)
    assert search(options).tried
    assert sorted(one.name for one in tmp_path.iterdir()) == ["study.db", "study.written"]


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holding = (
        "import pathlib, sys, time\nfrom mnemotomy.core.locks import locked\n"
        "with locked(pathlib.Path(sys.argv[1]), 'it'):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", holding, str(path)]
    environment = os.environ | {"PYTHONPATH": str(Path(mt.__file__).parents[1])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(DataError, match="it is in use by another run"), locked(path, "it"):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert path.exists()
        with locked(path, "it"):
            pass


def test_a_lock_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"), locked(tmp_path / "none" / "lock", "it"):
        pass


def test_trials_of_something_else_are_not_used_and_that_is_said(
    options: mt.ForgetOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, try_ = [], Search.try_
    monkeypatch.setattr(Search, "try_", lambda self, candidate: tries.append(candidate) or try_(self, candidate))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", mt.SurgeryWarning)
        for _ in range(2):
            search(options)
    assert len(tries) == 2
    with pytest.warns(
        UserWarning, match=r"study\.db has trials of an earlier search with other values of: forget set, retain set;"
    ):
        search(options, "Rome")
    assert len(tries) == 4
    monkeypatch.setattr(found, "versions", lambda: {"mnemotomy": "9"})
    with pytest.warns(UserWarning, match="values of: forget set, retain set, version; they are kept"):
        search(options)
    assert len(tries) == 6


def test_damaged_trials_are_refused(options: mt.ForgetOptions, tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    first = search(options)
    content, draw = path.read_bytes(), random.Random(0)
    for table, change in (
        ("trial_user_attributes", "value_json = replace(value_json, '0.', '1.') WHERE key = 'scores'"),
        ("trial_values", "value = value + 0.25"),
        ("trial_params", "param_value = param_value / 2"),
        ("trial_user_attributes", "value_json = '{'"),
    ):
        with contextlib.closing(sqlite3.connect(path)) as database:
            assert database.execute(f"UPDATE {table} SET {change}").rowcount
            database.commit()
        with pytest.raises(DataError, match=r"study\.db: the trials of an earlier search are damaged .*; remove the"):
            search(options)
        path.write_bytes(content)
    for _ in range(20):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 0x41
        path.write_bytes(damaged)
        with contextlib.suppress(DataError):
            assert [one.scores for one in search(options).tried] == [one.scores for one in first.tried]


def test_without_progress_the_moments_show_no_bar_either(monkeypatch: pytest.MonkeyPatch) -> None:
    def caught(*_: Any, options: Any, **__: Any) -> None:
        raise RuntimeError(f"progress: {options.progress}")

    monkeypatch.setattr("mnemotomy.forget.forgetting.collect", caught)
    model, tokenizer = trained()
    with pytest.raises(RuntimeError, match="progress: False"):
        mt.forget(model, tokenizer, examples(["Kyoto"]), examples(["Paris", "Rome"]), OPTIONS)
