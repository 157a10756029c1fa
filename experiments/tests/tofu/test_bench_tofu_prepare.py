"""Preparing a pair of models: made once, and gone on with where it was interrupted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import relative
from tiny_language import write_lines
from tiny_subject import save_bench

from mnemotomy.core.errors import ConfigurationError, ModelError
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.models import load_model
from mnemotomy.text.encoding import Encoded
from mnemotomy_bench.tofu import prepare
from mnemotomy_bench.tofu.prepare import FreshBase, Preparation, prepare_pair
from mnemotomy_bench.tofu.texts import Texts


def test_preparing_a_pair_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = save_bench(tmp_path / "bench")
    problems = write_lines(
        tmp_path / "train.jsonl", [{"question": f"{i} + {i} ?", "answer": str(2 * i)} for i in range(4)]
    )
    base = FreshBase(str(folder / "base"), hidden=64, layers=1, epochs=1, general=1)
    settings = Preparation(epochs=2, batch_size=8)
    texts = Texts(folder / "tofu")
    few = replace(base, problems=2)
    fewer = prepare_pair(tmp_path / "few", texts, base=few, settings=settings, only=["full"], gsm8k=problems)
    made = prepare_pair(tmp_path / "pair", texts, base=base, settings=settings, gsm8k=problems)
    assert list(made) == ["base", "full", "retain90"]
    prints = [fingerprint(load_model(path)) for path in made.values()]
    assert len({*prints, fingerprint(load_model(fewer["base"]))}) == 4
    assert not list((tmp_path / "pair").glob("*.training"))
    again = prepare_pair(tmp_path / "pair", texts, base=base, settings=settings, only=["full"], gsm8k=problems)
    assert fingerprint(load_model(again["full"])) == prints[1]
    with pytest.raises(ConfigurationError, match="made with other settings"):
        prepare_pair(tmp_path / "pair", texts, base=str(made["base"]), settings=Preparation(epochs=1, batch_size=8))

    record = made["full"] / "preparation.json"
    for damaged in ("{", "{}", "[]"):
        record.write_text(damaged)
        with pytest.raises(ConfigurationError, match="made with other settings"):
            prepare_pair(tmp_path / "pair", texts, base=str(made["base"]), settings=settings, only=["full"])
    with pytest.raises(ModelError, match="cannot use the device 'nonsense'"):
        prepare_pair(tmp_path / "third", texts, base=str(made["base"]), settings=replace(settings, device="nonsense"))

    save, calls = prepare.predict, []

    def interrupt(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return save(*arguments)

    monkeypatch.setattr(prepare, "predict", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare_pair(tmp_path / "second", texts, base=str(made["base"]), settings=settings, only=["full"])
    second = prepare_pair(tmp_path / "second", texts, base=str(made["base"]), settings=settings, only=["full"])
    assert fingerprint(load_model(second["full"])) == prints[1]


def test_a_pair_in_bfloat16_learns_the_same(tmp_path: Path):
    folder = save_bench(tmp_path / "bench")
    settings = Preparation(epochs=2, batch_size=8, precision="no")

    def trained(precision: Any) -> tuple[str, torch.Tensor]:
        made = prepare_pair(
            tmp_path / precision,
            Texts(folder / "tofu"),
            base=str(folder / "base"),
            settings=replace(settings, precision=precision),
            only=["full"],
        )
        record = json.loads((made["full"] / "preparation.json").read_text())
        return record["precision"], weights(made["full"])

    start, (exact, plain), (coarse, halved) = weights(folder / "base"), trained("no"), trained("bf16")
    assert (exact, coarse) == ("no", "bf16")
    assert 0.0 < relative(halved - start, plain - start) < 0.3
    assert trained("auto")[0] in ("no", "bf16")
    with pytest.raises(ConfigurationError, match="precision is 'auto', 'no' or 'bf16'"):
        replace(settings, precision="half")


def weights(folder: Path) -> torch.Tensor:
    return torch.cat([value.detach().float().flatten() for value in load_model(folder).parameters()])


def test_batches_hold_every_row_once_beside_rows_of_like_length():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(10, 100, (1003,), generator=generator).tolist()
    rows = [Encoded([0] * length, [0] * length) for length in lengths]
    batches = prepare.like_lengths(rows, 8, generator)
    assert sorted(id(row) for batch in batches for row in batch) == sorted(map(id, rows))
    assert all(len(batch) == 8 for batch in batches if batch is not min(batches, key=len))
    widest = [max(len(row.input_ids) for row in batch) for batch in batches]
    assert sum(width * len(batch) for width, batch in zip(widest, batches, strict=True)) < 1.15 * sum(lengths)
    assert sorted(widest) != widest  # short and long ones take turns
