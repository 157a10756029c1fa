"""The cost of checking content hashes is measured on real loads."""

from __future__ import annotations

import json

import pytest
from commands import call

from mnemotomy_bench.speed.integrity import run_integrity

USES = ["model", "model and edit", "checkpoint", "moments", "store", "store, one question"]


@pytest.mark.parametrize("cold", [False, True])
def test_each_use_is_loaded_both_ways(cold):
    records = run_integrity(width=64, layers=1, facts=20, repeats=2, cold=cold)
    assert [record["loaded"] for record in records] == USES
    for record in records:
        assert len(record["checked"]) == len(record["unchecked"]) == 2
        assert record["bytes"] > 1000
        assert 0 < record["ratio"] < 100


def test_the_command_shows_every_use():
    result = call(*["bench", "integrity", "--width", "64", "--facts", "20", "--repeats", "1", "--json", "-"])
    assert [record["loaded"] for record in json.loads(result.stdout)] == USES
