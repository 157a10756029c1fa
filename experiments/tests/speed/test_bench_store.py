"""The measurement of a store of many facts, and its command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mnemotomy.cli import app
from mnemotomy_bench.speed.store import places, run_store


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


def test_the_command(tmp_path: Path) -> None:
    few = ["bench", "store", "--facts", "200", "--queries", "10"]
    record = json.loads(CliRunner().invoke(app, [*few, "--json", "-"]).stdout)
    assert record["facts"] == 200
    assert record["queries"]["question"]["queries"] == 5
    assert "subject: p50 " in CliRunner().invoke(app, few).stdout
    refused = CliRunner().invoke(app, [*few, "--folder", str(tmp_path / "none")])
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "none" in refused.stderr
