"""A transformer of a local folder, groups of whose classes are erased; digits, since they are always there."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import image, titles
from PIL import Image
from tiny_vit import SHAPE
from transformers import (
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)
from typer.testing import CliRunner

from mnemotomy.cli import app
from mnemotomy.core.errors import ConfigurationError, DataError, MnemotomyError, ModelError, SelectionError
from mnemotomy.methods.classifiers.engram_automatic import ClassifierEngramAutomatic
from mnemotomy_bench.classwise import image_classifier, pretrained, pretrained_forget, recognition
from mnemotomy_bench.classwise.group_tables import forget_table, group_table, recognition_table, summary_table
from mnemotomy_bench.classwise.image_classifier import Classifier
from mnemotomy_bench.classwise.matrices import AUTOMATIC, CHOSEN, PAPER, RECALIBRATED, judged
from mnemotomy_bench.classwise.pretrained import PROJECTOR, Plan, check_tested, grouped, run_pretrained
from mnemotomy_bench.classwise.recognition import read_groups
from mnemotomy_bench.vision.images import Images, load_images

pytest.importorskip("sklearn", reason="scikit-learn is not installed; it comes with the extra demo")

PLAN = Plan("digits", "train", "test", group=3, batch_size=256)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vision transformer that errs on one test digit in twenty; in float64, so that rounding decides nothing."""
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    ViTForImageClassification(ViTConfig(**SHAPE, num_labels=10)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 8, "width": 8}, image_mean=[0.3] * 3, image_std=[0.4] * 3).save_pretrained(folder)
    classifier, epochs, batch = Classifier(str(folder)), 40, 128
    images, model = classifier.load("digits", "train"), classifier.model.double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * -(-len(images) // batch))
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        shuffled = Images(images.inputs[order], images.labels[order], images.class_names)
        for inputs, labels in classifier.batches(shuffled, batch):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs.double()).logits, labels).backward()
            optimizer.step()
            schedule.step()
    model.float().save_pretrained(folder)
    return folder


def test_images_are_what_the_processor_gives(folder: Path) -> None:
    classifier = Classifier(str(folder))
    images = classifier.load("digits", "test")
    found, labels = next(classifier.batches(images, 5))
    pictures = [Image.fromarray(one[0].numpy()).convert("RGB") for one in images.inputs[:5]]
    expected = ViTImageProcessor.from_pretrained(folder)(images=pictures, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert labels.tolist() == images.labels[:5].tolist()


def test_groups_are_erased_in_turn(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = run_pretrained(tmp_path, str(folder), PLAN)
    assert record["groups"] == ["0–2", "3–5", "6–8", "9"]
    assert min(record["before"]) > 0.9
    assert list(record["strengths"]) == [PAPER, CHOSEN, PROJECTOR]
    assert record["strengths"][PAPER] == [1.0] * 4
    for title in (PAPER, CHOSEN, PROJECTOR):
        matrix = torch.tensor(record["matrices"][title])
        assert matrix.shape == (4, 4)
        assert bool((matrix.diagonal() < torch.tensor(record["before"]) - 0.3).all())
        assert record["summary"][title]["others_lost_mean"] < 0.4
    assert record["summary"][CHOSEN]["erased_mean"] <= record["summary"][PAPER]["erased_mean"] + 0.05
    lost = {title: summary["others_lost_mean"] for title, summary in record["summary"].items()}
    assert lost[PROJECTOR] < lost[CHOSEN]  # what is shared is spared
    monkeypatch.setattr(pretrained, "collect", None)
    assert run_pretrained(tmp_path, str(folder), PLAN) == record  # nothing is computed again


def test_some_kinds_of_layer_alone(folder: Path, tmp_path: Path) -> None:
    plan = replace(PLAN, group=5)
    whole = run_pretrained(tmp_path, str(folder), plan)
    values = run_pretrained(tmp_path, str(folder), replace(plan, kinds=("v_proj",)))
    assert values["matrices"] != whole["matrices"]
    with pytest.raises(SelectionError, match="nothing"):
        run_pretrained(tmp_path, str(folder), replace(plan, kinds=("nothing",)))


def test_what_cannot_be_run_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="leaves nothing of 10 classes"):
        run_pretrained(tmp_path, str(folder), replace(PLAN, group=10))
    with pytest.raises(ConfigurationError, match="1 or more, not 0"):
        replace(PLAN, group=0)
    with pytest.raises(DataError, match=r"1 classes have no training image, class 1 \('b'\)"):
        grouped(Images(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 2]), ("a", "b", "c")), 1)
    ViTForImageClassification(ViTConfig(**SHAPE, num_labels=3)).save_pretrained(tmp_path / "three")
    with pytest.raises(ModelError, match="cannot load an image processor"):
        Classifier(str(tmp_path / "three"))
    ViTImageProcessor(size={"height": 8, "width": 8}).save_pretrained(tmp_path / "three")
    with pytest.raises(DataError, match="10 classes and the model 3"):
        run_pretrained(tmp_path, str(tmp_path / "three"), PLAN)


def test_from_the_command_line(folder: Path, tmp_path: Path, figures: list[Any]) -> None:
    call = ["bench", "pretrained", str(folder), "--data", "digits", "--train", "train", "--test", "test"]
    result = CliRunner().invoke(app, [*call, "--group", "5", "--out", str(tmp_path), "--json", "-"])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["groups"] == ["0–4", "5–9"]
    assert (tmp_path / "matrices.png").is_file()
    assert titles(figures[0]) == list(record["matrices"])
    for axis, matrix in zip(figures[0].axes, record["matrices"].values(), strict=True):
        np.testing.assert_allclose(image(axis), 100 * np.array([record["before"], *matrix]))
    failed = CliRunner().invoke(app, [*call, "--group", "99", "--out", str(tmp_path)])
    assert failed.exit_code == 2
    assert "use a smaller one" in failed.output
    failed = CliRunner().invoke(app, [*call, "--device", "abacus", "--out", str(tmp_path)])
    assert failed.exit_code == 2
    assert "cannot use the device 'abacus'" in failed.output


def test_forget_searches_for_an_edit_of_each_group(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ["bench", "pretrained", str(folder), "--data", "digits", "--train", "train", "--test", "test"]
    call += ["--group", "5", "--trials", "2", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*call, "--forget", "0–4", "--json", "-"])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert list(record["forgotten"]) == ["0–4"]
    (own, _), found = record["forgotten"]["0–4"]["found"], record["forgotten"]["0–4"]
    assert own < record["before"][0] - 0.3
    assert found["counts"]["examples"]["forget"] > 100
    row = forget_table(record).rows[0]
    assert row[:3] == ["0–4", found["chosen"]["name"], f"{100 * own:.1f}"]
    assert row[-2] == ("only with --force" if found["concerns"] else "yes")
    assert json.loads((tmp_path / "forget.json").read_text(encoding="utf-8")) == record
    monkeypatch.setattr(pretrained_forget, "forget", None)
    again = CliRunner().invoke(app, [*call, "--forget", "0–4"])  # nothing is searched again
    assert again.exit_code == 0, again.output
    failed = CliRunner().invoke(app, [*call, "--forget", "5"])
    assert failed.exit_code == 2
    assert "there is no group '5' to forget; choose among 0–4, 5–9" in failed.output


GROUPS = """
"0": [0]
"1": [1, 7]         # sevens count as ones
"2": []
"4": [4-6]
"8": [8]
"""


def test_other_classes_are_groups_of_the_models(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On digits: a class is recognised where it is called anything of its group; one without a group is not read."""
    groups = tmp_path / "groups.yaml"
    groups.write_text(GROUPS, encoding="utf-8")
    plan = replace(PLAN, train="train", classes=str(groups), most=(30, 12), automatic=True)
    monkeypatch.setattr(pretrained, "OURS", partial(ClassifierEngramAutomatic, strengths=(0.8,)))
    record = run_pretrained(tmp_path, str(folder), plan)
    assert record["groups"] == ["0", "1", "4", "8"]
    assert record["before"] == [1.0] * 4  # only images that are recognised
    assert record["images"] == {"train": 4 * 30, "test": 4 * 12}
    classifier, test = Classifier(str(folder)), load_images("digits", "test")
    called = classifier.read(classifier.load("digits", "test"), 99).argmax(-1)
    for row in record["recognition"]["test"]:
        members = read_groups(str(groups)).get(row["group"], ())
        own = test.labels == int(row["group"])
        assert (row["images"], row["classes"]) == (int(own.sum()), len(members))
        hits = torch.isin(called[own], torch.tensor(members)).double().mean()
        assert row["top"] == (pytest.approx(float(hits)) if members else None)
        assert (row["forced"] is None) == (not members)
    assert list(record["matrices"]) == [PAPER, CHOSEN, PROJECTOR, AUTOMATIC, RECALIBRATED]
    assert record["matrices"][RECALIBRATED] == record["matrices"][PAPER]  # a transformer has nothing to recalibrate
    assert record["summary"][AUTOMATIC]["erased_mean"] < 0.3
    assert len(record["strengths"][AUTOMATIC][0]) == 2  # of the layers and of the head
    monkeypatch.setattr(Classifier, "read", None)
    assert run_pretrained(tmp_path, str(folder), plan) == record  # nothing is read again
    monkeypatch.undo()
    monkeypatch.setattr(recognition, "FEWEST", 999)
    with pytest.raises(DataError, match="0 groups have 999 recognised images in both splits"):
        run_pretrained(tmp_path, str(folder), plan)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"0": [1-3, 2]}', "class 2 is named twice"),
        ('{"0": []}', "no class is named"),
        ('{"0": [a]}', "'a' is not the number of a class"),
        ('{"0": 3}', "valid list"),
        ('{"0": [10]}', "the model has no class 10; it has 10"),
        ('{"ten": [1]}', "has no class 'ten'; its classes are 0, 1"),
    ],
)
def test_groups_that_are_not_valid_are_refused(folder: Path, tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "groups.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(MnemotomyError, match=message):
        run_pretrained(tmp_path, str(folder), replace(PLAN, classes=str(file)))


def test_the_groups_of_cifar_10_are_disjoint_classes_of_imagenet() -> None:
    groups = read_groups("cifar10")
    assert {name: len(members) for name, members in groups.items()} == {
        "airplane": 3, "automobile": 10, "bird": 59, "cat": 5, "deer": 0, "dog": 118, "frog": 3, "horse": 1, "ship": 15,
        "truck": 7,
    }  # fmt: skip
    assert max(max(members) for members in groups.values() if members) < 1000
    with pytest.raises(ConfigurationError, match="no groups 'cifar11'; choose among cifar10"):
        read_groups("cifar11")


def test_a_group_without_a_test_image_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_images("digits", "test")
    groups = {"0–1": (0, 1), "2": (2,)}
    check_tested(whole.of_classes([0, 2]), groups)  # of class 1 alone
    with pytest.raises(DataError, match=r"1 groups of classes have no test image, 0–1 among them; read a larger part"):
        check_tested(whole.of_classes([2, 5]), groups)
    monkeypatch.setattr(
        image_classifier,
        "load_images",
        lambda data, split, size: whole if split == "train" else whole.of_classes([0, 1, 2]),
    )
    with pytest.raises(DataError, match="3 groups of classes have no test image, 3–5 among them"):
        run_pretrained(tmp_path, str(folder), PLAN)


def test_rows_of_other_images_or_another_processor_are_not_taken(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shutil.copytree(folder, tmp_path / "vit")

    def identity() -> tuple[str, str]:
        run = pretrained.GroupRows(tmp_path, Classifier(str(model)), PLAN)
        return run.key, run.cell("before", lambda: {"key": run.key})["key"]

    first = identity()
    assert identity() == first
    ViTImageProcessor(size={"height": 8, "width": 8}, image_mean=[0.2] * 3, image_std=[0.4] * 3).save_pretrained(model)
    keys = [first, identity()]
    train, test = load_images("digits", "train"), load_images("digits", "test")
    swapped = test.labels.flip(0)
    for other in (
        Images(255 - test.inputs, test.labels, test.class_names),
        Images(test.inputs, swapped, test.class_names),
    ):
        splits = {"train": train, "test": other}
        monkeypatch.setattr(image_classifier, "load_images", lambda data, split, size, splits=splits: splits[split])
        keys.append(identity())
    assert all(key == row for key, row in keys)
    assert len(set(keys)) == len(keys)


def test_the_tables_show_what_is_left_and_what_the_others_keep() -> None:
    matrix = [[0.1, 0.9, 0.7], [1.0, 0.0, 0.8], [0.9, 0.9, 0.2]]
    known = {"group": "a", "classes": 2, "images": 8, "top": 0.5, "forced": 0.75}
    record = {
        "groups": ["a", "b", "c"],
        "recognition": {"test": [known, {"group": "d", "classes": 0, "images": 4, "top": None, "forced": None}]},
        "matrices": {PAPER: matrix},
        "summary": {PAPER: judged(torch.ones(3), torch.tensor(matrix))},
    }
    assert recognition_table(record).rows == [["a", "2", "8", "50.0", "75.0", "yes"], ["d", "0", "4", "–", "–", "no"]]
    rows = group_table(record, [PAPER]).rows
    assert rows == [["a", "10.0", "80.0"], ["b", "0.0", "90.0"], ["c", "20.0", "90.0"]]
    assert summary_table({"all": record}).rows == [["all: α = 1", "10.0", "20.0", "13.3", "20.0"]]
