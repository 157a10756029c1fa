"""A transformer of a local folder, groups of whose classes are erased; digits, since they are always there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor
from typer.testing import CliRunner

from mnemotomy.bench import pretrained
from mnemotomy.bench.classwise.matrices import CHOSEN, PAPER
from mnemotomy.bench.pretrained import PROJECTOR, Classifier, Plan, grouped, run_pretrained
from mnemotomy.cli import app
from mnemotomy.data.images import Images
from mnemotomy.errors import ConfigurationError, DataError, ModelError, SelectionError

pytest.importorskip("sklearn", reason="scikit-learn is not installed; it comes with the extra demo")

PLAN = Plan("digits", "train", "test", group=3, batch_size=256)
SHAPE = {
    "image_size": 8, "patch_size": 2, "num_channels": 3, "hidden_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 48, "hidden_dropout_prob": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vision transformer that was trained on digits for a few epochs."""
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    ViTForImageClassification(ViTConfig(**SHAPE, num_labels=10)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 8, "width": 8}, image_mean=[0.3] * 3, image_std=[0.4] * 3).save_pretrained(folder)
    classifier = Classifier(str(folder))
    images = classifier.load("digits", "train")
    optimizer = torch.optim.AdamW(classifier.model.parameters(), lr=3e-3)
    for _ in range(30):
        for inputs, labels in classifier.batches(images, 64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(classifier.model(inputs).logits, labels).backward()
            optimizer.step()
    classifier.model.save_pretrained(folder)
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
    assert min(record["before"]) > 0.5
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


def test_from_the_command_line(folder: Path, tmp_path: Path) -> None:
    call = ["bench", "pretrained", str(folder), "--data", "digits", "--train", "train", "--test", "test"]
    result = CliRunner().invoke(app, [*call, "--group", "5", "--out", str(tmp_path), "--json", "-"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["groups"] == ["0–4", "5–9"]
    assert (tmp_path / "matrices.png").stat().st_size > 1000
    failed = CliRunner().invoke(app, [*call, "--group", "99", "--out", str(tmp_path)])
    assert failed.exit_code == 2
    assert "take a smaller one" in failed.output
    failed = CliRunner().invoke(app, [*call, "--device", "abacus", "--out", str(tmp_path)])
    assert failed.exit_code == 2
    assert "cannot use the device 'abacus'" in failed.output
