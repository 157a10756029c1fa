"""The speed runs measure what they say, and the shortcuts that make them fast are exact."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from helpers import relative
from tiny_language import save_llama, write_lines

from mnemotomy.core.errors import DataError
from mnemotomy.core.files import write_text
from mnemotomy.engram import products
from mnemotomy.engram.accumulator import Accumulator, add_input_, nothing_yet
from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.products import add_gram_, full_precision, mirror_, products_of
from mnemotomy.engram.sites.layout import LastDimension, Patches
from mnemotomy_bench.speed import run_speed
from mnemotomy_bench.speed.case import SITES, Case, Pretrained
from mnemotomy_bench.speed.show import cells

TINY = Case(64, 1, 512, batch=(2, 64))


@pytest.mark.parametrize("d", [1, 5, 256, 257, 600])
def test_half_a_product_and_a_mirror_are_the_whole(d):
    rows = torch.randn(40, d, dtype=torch.float64)
    total = torch.zeros(d, d, dtype=torch.float64)
    add_gram_(total, rows[:15])
    add_gram_(total, rows[15:])
    mirror_(total)
    torch.testing.assert_close(total, rows.T @ rows)
    assert torch.equal(total, total.T)


@pytest.mark.parametrize("d", [5, 128, 300, 1023, 1100])
def test_sums_in_strips_are_the_whole(d):
    sums, rows = Accumulator((d, d), torch.float64, torch.device("cpu")), torch.randn(40, d, dtype=torch.float64)
    sums.add_rows(rows[:15])
    sums.add_rows(rows[15:])
    torch.testing.assert_close(sums.moment(torch.float64).second, rows.T @ rows)


def test_full_precision_is_restored_after_an_error():
    matmul = torch.backends.mkldnn.matmul
    before = matmul.fp32_precision

    def fail() -> None:
        with full_precision():
            assert matmul.fp32_precision == "ieee"
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert matmul.fp32_precision == before


@pytest.mark.parametrize(("dtype", "native", "expected"), [
    (torch.bfloat16, True, "bf16"), (torch.bfloat16, False, "ieee"), (torch.float32, True, "ieee"),
    (torch.float16, True, "ieee"),
])  # fmt: skip
def test_only_bfloat16_rows_are_multiplied_as_bfloat16(dtype, native, expected, monkeypatch):
    monkeypatch.setattr(products, "has_bfloat16", lambda: native)
    with full_precision():
        with products_of(torch.ones(2, 2, dtype=dtype)):
            assert torch.backends.mkldnn.matmul.fp32_precision == expected
        assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"


@pytest.mark.parametrize("layout", [LastDimension(), Patches((3, 3), (1, 1), (1, 1), (1, 1, 1, 1))])
def test_products_of_bfloat16_rows_are_those_of_float32(layout):
    shape = (512, 300) if isinstance(layout, LastDimension) else (64, 16, 8, 8)
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).bfloat16()
    with full_precision():
        sums = nothing_yet(layout, rows.float(), torch.float32)
        add_input_(lambda _: sums, layout, rows, 0)
    moment = sums.moment(torch.float32)
    exact = layout.rows(rows).flatten(0, -2).double()
    assert relative(moment.second, exact.T @ exact) < 1e-6
    assert relative(moment.first, exact.sum(0)) < 1e-5


def test_a_folder_for_the_records_is_refused_before_any_case(tmp_path):
    with pytest.raises(DataError, match="is a folder; name the file to write"):
        run_speed([TINY], out=tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_a_record_has_times_memory_and_agreement(tmp_path):
    pytest.importorskip("engram", reason="the reference implementation, ai-engram, is not installed")
    (record,) = run_speed([TINY], repeats=1, out=tmp_path / "speed.json")
    assert set(record["seconds"]) == {"floor", "ours", "peer"}
    assert record["largest_difference"] < 1e-4
    assert record["peak_extra_bytes"]["ours"] > 0
    assert (tmp_path / "speed.json").is_file()
    assert "–" not in cells(record)


def test_a_pretrained_model_reads_problems(tmp_path, monkeypatch):
    case = Pretrained(str(save_llama(tmp_path / "model")), tokens=128, concepts=2, batch=(2, 16))
    monkeypatch.setenv("MNEMOTOMY_DATA", str(tmp_path))
    with pytest.raises(DataError, match="set MNEMOTOMY_DATA"):
        case.data()
    (tmp_path / "gsm8k").mkdir()
    write_lines(tmp_path / "gsm8k" / "test.jsonl", [{"question": "Kyoto is a city", "answer": "in Japan"}] * 40)
    data, model = case.data(), case.model()
    assert {name: len(batches) for name, batches in data.items()} == {"c0": 1, "c1": 1, "rest": 2}
    moments = collect(model, data, sites=list(SITES), options=CollectOptions(progress=False))
    assert case.distinct_inputs == [statistic["c0"].shape[-1] for statistic in moments.statistics.values()]
    with pytest.raises(DataError, match="too few for 2 concepts"):
        replace(case, tokens=64).data()


@pytest.mark.slow
def test_many_concepts_share_one_collection():
    (record,) = run_speed([Case(64, 1, 512, concepts=3, batch=(2, 64))], repeats=1)
    assert {"collect", "atlas", "edit", "last concept"} <= set(record["parts"]["ours"])


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "numbers.json"
    write_text(target, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(target, "new \udc80")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["numbers.json"]
