"""The generative bench by several processes: the cache that they fill is the one that the run reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers import contents

from mnemotomy_bench.generative.cases import CASES
from mnemotomy_bench.generative.digits import digits_plan, run_digits
from mnemotomy_bench.generative.faces.cases import CASES as PORTRAITS
from mnemotomy_bench.generative.faces.run import case_plan, run_case
from mnemotomy_bench.lab.pool import Workers

FACES = replace(
    PORTRAITS["toy-faces-tiny"],
    name="toy-test", seeds=(0, 1), side=16, width=2, latent=8, train=64, validation=32, test=32, epochs=1,
    batch_size=16, classified=48, classifier_width=2, classifier_epochs=1, collected=32,
)  # fmt: skip
CONVAE = replace(
    CASES["digits-convae"], seeds=(0, 1), epochs=1, batch_size=32, tuned_epochs=1, read=20, test_images=200
)


@pytest.mark.slow
def test_what_processes_fill_is_what_the_run_reads(tmp_path):
    pytest.importorskip("PIL", reason="Pillow is not installed; it comes with the extra vision")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed; it comes with the extra demo")
    methods = ["original", "retrain", "engram"]
    with Workers(2) as workers:
        workers.carry_out("both", [digits_plan(tmp_path, CONVAE, methods, None), case_plan(tmp_path, FACES)])
    before = contents(tmp_path)
    names = sorted(
        Path(name).name.split("-")[0] for name in before if name.endswith(".safetensors") and "models" in name
    )
    assert sum(name == "autoencoder" for name in names) == 2
    assert sum(name == "classifier" for name in names) == 1
    records = [*run_digits(tmp_path, CONVAE, methods), *run_case(tmp_path, FACES)]
    assert all(record["seeds"] == [0, 1] for record in records)
    assert contents(tmp_path) == before  # nothing was missing
