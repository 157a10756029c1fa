"""Which faces are learned at which scale, and photographs of a folder in place of drawn ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy_bench.generative.faces import run
from mnemotomy_bench.generative.faces.cases import face_cases
from mnemotomy_bench.generative.faces.engrams import PAPER, Setting
from mnemotomy_bench.generative.faces.methods import METHODS
from mnemotomy_bench.generative.faces.portraits import load_portraits
from mnemotomy_bench.generative.faces.rare import Rare
from mnemotomy_bench.generative.faces.run import run_case


def test_the_cases_of_every_scale(tmp_path, monkeypatch):
    monkeypatch.setenv("MNEMOTOMY_DATA", str(tmp_path))
    assert [len(face_cases(scale)) for scale in ("tiny", "small", "paper")] == [1, 1, 1]
    (tmp_path / "celeba").mkdir()
    assert face_cases("paper")[1].attributes == ("Eyeglasses", "Goatee", "Wearing_Hat", "Bangs")
    assert (face_cases("paper")[1].width, face_cases("paper")[1].latent) == (128, 128)
    assert len(face_cases("small")[0].seeds) == 3
    assert face_cases("tiny", [5])[0].seeds == (5,)
    with pytest.raises(ConfigurationError, match="no scale 'huge'"):
        face_cases("huge")


def test_photographs_of_a_folder(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed; it comes with the extra vision")
    image = pytest.importorskip("PIL.Image")
    random = np.random.default_rng(0)
    for split, count in (("train", 80), ("valid", 24), ("test", 24)):
        rows = {"image": [image.fromarray(random.integers(0, 256, (22, 18, 3), dtype=np.uint8)) for _ in range(count)]}
        features = {"image": datasets.Image()}
        for place, name in enumerate(("Eyeglasses", "Goatee", "Wearing_Hat", "Bangs")):
            rows[name] = [(number >> place) & 1 == 1 for number in range(count)]
            features[name] = datasets.Value("bool")
        path = tmp_path / "celeba" / f"{split}.parquet"
        path.parent.mkdir(exist_ok=True)
        datasets.Dataset.from_dict(rows, datasets.Features(features)).to_parquet(path)
    monkeypatch.delenv("MNEMOTOMY_DATA", raising=False)
    case = replace(
        face_cases("paper", None, tmp_path)[1], side=16, width=2, latent=6, seeds=(0,), epochs=1, classified=16,
        classifier_width=2, classifier_epochs=1, validation=16, test=24,
    )  # fmt: skip
    assert len(load_portraits(case, "train", tmp_path)) == 64
    monkeypatch.setattr(run, "CANDIDATES", (PAPER, Setting(Rare(0.06), "code")))
    records = run_case(tmp_path / "out", case)
    assert [record["method"] for record in records] == [*METHODS]
    assert records[0]["erased_outside"] is None  # no exact ground truth
    assert records[0]["factors"] is None
    assert records[0]["left_Wearing_Hat"] <= 1.0
    with pytest.raises(DataError, match="the classifier alone takes 90"):
        load_portraits(replace(case, classified=90), "train", tmp_path)


@pytest.mark.parametrize("named", ["validation", "valid"])
def test_photographs_in_a_folder_for_each_split(tmp_path, named):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed; it comes with the extra vision")
    image = pytest.importorskip("PIL.Image")
    portrait = image.fromarray(np.full((12, 10, 3), 90, np.uint8))
    features = {"image": datasets.Image(), "Hat": datasets.Value("bool")}
    for split, count in (("train", 5), (named, 3)):
        (tmp_path / split).mkdir()
        rows = {"image": [portrait] * count, "Hat": [True] * count}
        datasets.Dataset.from_dict(rows, datasets.Features(features)).to_parquet(tmp_path / split / "0000.parquet")
    case = replace(face_cases("tiny")[0], folder=tmp_path, attributes=("Hat",), side=8, classified=2)
    assert len(load_portraits(case, "validation", tmp_path)) == 3
    assert len(load_portraits(case, "train", tmp_path)) == 3
    with pytest.raises(DataError, match=r"no test\.parquet"):
        load_portraits(case, "test", tmp_path)
