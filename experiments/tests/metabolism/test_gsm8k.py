"""The harness runs on a saved folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tiny_language import save_qwen


def test_the_harness_runs_on_a_saved_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed; it comes with the extra eval")
    data = Path(os.environ.get("MNEMOTOMY_DATA", "")) / "gsm8k"
    if not (data / "test.jsonl").is_file():
        pytest.skip("MNEMOTOMY_DATA does not name a folder with gsm8k/test.jsonl")
    from mnemotomy_bench.metabolism.gsm8k import run_gsm8k

    save_qwen(tmp_path / "model", template=None, max_position_embeddings=1024)
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    found = run_gsm8k(tmp_path / "model", data, limit=2, shots=0)
    assert found["sample_len"] == 2
    assert 0.0 <= found["exact_match,flexible-extract"] <= 1.0
