"""The class-wise bench by several processes: the cache that they fill is the one that the run reads."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers import contents
from tiny_classwise import CASE, FEW

from mnemotomy.core.errors import DataError
from mnemotomy_bench.classwise.analyses import analyse
from mnemotomy_bench.classwise.parallel import Place, case_plan
from mnemotomy_bench.classwise.run import run_case
from mnemotomy_bench.classwise.subject import Subject
from mnemotomy_bench.lab.pool import Workers

pytest.importorskip("sklearn", reason="scikit-learn is not installed; it comes with the extra demo")

ROWS = {name: row for name, row in FEW.rows().items() if name in ("engram", "engram-grid")}


@pytest.mark.slow
def test_what_processes_fill_is_what_the_run_reads(tmp_path):
    case = replace(CASE, seeds=(0, 1), subset_images=20)
    bare = replace(case, name="bare", matrices_only=True, seeds=(0,))
    plans = [
        case_plan(Place(case, tmp_path, None), ROWS, figures=True),
        case_plan(Place(bare, tmp_path, None), {}, figures=True),
    ]
    with Workers(2) as workers:
        workers.carry_out("two cases", plans)
    before = contents(tmp_path)
    assert len(list((tmp_path / "models").glob("*.safetensors"))) == 4
    records = run_case(tmp_path, case, ROWS, list(ROWS))
    assert [record["seeds"] for record in records] == [[0, 1], [0, 1]]
    found = analyse(tmp_path, [Subject(case, seed, tmp_path / "models") for seed in case.seeds], records)
    assert len(found["seeds"]) == 2
    assert list(analyse(tmp_path, [Subject(bare, 0, tmp_path / "models")], [])["seeds"])
    assert contents(tmp_path) == before  # nothing was missing


def test_an_error_in_a_process_is_the_callers(tmp_path):
    case = replace(CASE, data="nowhere")
    with pytest.raises(DataError, match="nowhere"), Workers(2) as workers:
        workers.carry_out("nothing", [case_plan(Place(case, tmp_path, tmp_path), ROWS, figures=False)])
