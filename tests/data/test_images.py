"""Images from folders and parquet files."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_images as tiny
import torch

from mnemotomy.core.errors import DataError
from mnemotomy.core.image_models import class_names, is_image_classifier, load_image_processor
from mnemotomy.data.image_sets import image_sets
from mnemotomy.data.images import class_number, drawn, list_images, prepared


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tiny.network(), tmp_path_factory.mktemp("model") / "model")


def test_a_classifier_is_known_by_its_architecture(folder: Path) -> None:
    assert is_image_classifier(str(folder))
    assert not is_image_classifier(str(folder.parent))
    assert class_names(tiny.network()) == tiny.NAMES


def test_each_form_of_files_gives_the_same_tensors(folder: Path, tmp_path: Path) -> None:
    some = tiny.sets()[0][:20]
    tiny.write_pictures(some, tmp_path / "pictures")
    tiny.write_parquet(some, tmp_path / "named.parquet")
    tiny.write_parquet(some, tmp_path / "hub" / "train.parquet") if (tmp_path / "hub").mkdir() is None else None
    tiny.write_parquet(some, tmp_path / "numbers.parquet", names=None)
    tiny.write_parquet(some, tmp_path / "other.parquet", names=[str(number) for number in range(10)])
    processor = load_image_processor(str(folder))
    for source in ("named.parquet", "hub", "numbers.parquet", "other.parquet"):
        found = prepared(list_images(tmp_path / source, tiny.NAMES), processor, 1)
        torch.testing.assert_close(found.inputs, some.inputs, atol=0.01, rtol=0.0)
        assert found.labels.tolist() == some.labels.tolist()
    pictures = prepared(list_images(tmp_path / "pictures", tiny.NAMES), processor, 1)
    assert sorted(pictures.labels.tolist()) == sorted(some.labels.tolist())


def test_a_folder_of_images_is_one_class(tmp_path: Path) -> None:
    own, _ = tiny.split(tiny.sets()[0][:40])
    tiny.write_pictures(own, tmp_path)
    found = list_images(tmp_path / "three", tiny.NAMES)
    assert {one.label for one in found} == {3}
    assert len(found) == len(own)


@pytest.mark.parametrize(("name", "number"), [("tabby", 1), ("Tabby Cat", 1), ("dog", 0), ("1", 1)])
def test_classes_are_found_by_any_of_their_names(name: str, number: int) -> None:
    assert class_number(name, ["dog", "tabby, tabby cat"], "") == number


def test_sets_are_drawn_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnemotomy.data.image_sets.MOST", 500)
    monkeypatch.setattr("mnemotomy.data.image_sets._LEAST", 20)
    forget, retain = tiny.split(tiny.sets()[0])
    found = image_sets({"forget": forget, "retain": retain, "holdout": None}, tiny.NAMES, None, 1, 0)
    assert len(found["forget"]) + len(found["retain"]) == pytest.approx(500, abs=2)
    assert len(found["forget"]) / len(found["retain"]) == pytest.approx(len(forget) / len(retain), rel=0.05)


def test_the_draw_is_seeded_and_keeps_the_order(tmp_path: Path) -> None:
    found = list_images(tiny.write_pictures(tiny.sets()[0][:30], tmp_path), tiny.NAMES)
    some = drawn(found, 10, 0)
    assert some == drawn(found, 10, 0) != drawn(found, 10, 1)
    assert [found.index(one) for one in some] == sorted(found.index(one) for one in some)


def test_damage_and_foreign_classes_are_named(folder: Path, tmp_path: Path) -> None:
    tiny.write_pictures(tiny.sets()[0][:5], tmp_path)
    image = next(tmp_path.rglob("*.png"))
    image.write_bytes(image.read_bytes()[:40])
    processor = load_image_processor(str(folder))
    with pytest.raises(DataError, match=rf"{image.name}: the image is damaged"):
        prepared(list_images(tmp_path, tiny.NAMES), processor, 1)
    with pytest.raises(DataError, match=r"is not a class of the model; its classes are a, b"):
        list_images(tmp_path, ["a", "b"])
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"torn.parquet is not a complete parquet file"):
        list_images(tmp_path / "torn.parquet", tiny.NAMES)
    with pytest.raises(DataError, match="there are no images"):
        list_images(tmp_path / "none", tiny.NAMES)
