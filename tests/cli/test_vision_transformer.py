"""A vision transformer reads images as its processor prepares them: at a size and in colours unlike the files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_images as tiny
from commands import call, fails, work_beside
from PIL import Image

import mnemotomy as mt
from mnemotomy.core.image_models import load_image_processor
from mnemotomy.data.images import list_images, prepared


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, and images of two sizes, neither of which it reads."""
    folder = tmp_path_factory.mktemp("vit")
    model, processor = tiny.vision_transformer()
    mt.save_model(model, folder / "model", tokenizer=processor)
    for name, examples in zip(("train", "test"), tiny.sets(), strict=True):
        tiny.write_pictures(examples[:500], folder / name)
        for path in list((folder / name).rglob("*.png"))[::2]:
            Image.open(path).resize((32, 28)).save(path)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return work_beside(made, tmp_path, monkeypatch)


@pytest.mark.usefixtures("folder")
def test_it_forgets_a_class_and_its_audit_speaks_of_images() -> None:
    asked = ["--forget-label", "three", "--retain", "train"]
    done = call("forget", "model", "out", *asked, "--trials", "4", "--yes")
    assert done.exit_code == 0, done.output
    before, after, processor = mt.load_model("model"), mt.load_model("out"), load_image_processor("out")
    own, others = tiny.split(prepared(list_images("test", tiny.NAMES), processor, 3))
    assert own.inputs.shape[1:] == (3, 24, 24)
    assert tiny.recognised(after, own) < 0.1 < 0.6 < tiny.recognised(before, own)
    assert tiny.recognised(after, others) > tiny.recognised(before, others) - 0.05
    done = call("audit", "model", "out", "audit", *asked, "--only", "image-plain", "--earlier", "test/two")
    assert done.exit_code == 0, done.output
    assert "The earlier request test/two is still known: shown as they are, " in done.stdout
    assert "% of the images are recognised (" in done.stdout
    assert "answers" not in done.stdout


@pytest.mark.parametrize(
    ("command", "change", "message"),
    [
        (["forget"], {"size": {"height": 16, "width": 16}}, "does not read images of shape [3, 16, 16]"),
        (["audit", "copy"], {"size": {"height": 16, "width": 16}}, "does not read images of shape [3, 16, 16]"),
        (["audit", "copy"], {"do_resize": False}, "cannot read the images"),
    ],
)
def test_a_processor_that_does_not_fit_is_said_in_one_line(
    folder: Path, command: list[str], change: dict[str, object], message: str
) -> None:
    own = folder / "copy"
    own.mkdir()
    for path in (folder / "model").iterdir():
        (own / path.name).write_bytes(path.read_bytes())
    settings = own / "preprocessor_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | change))
    fails(call(command[0], "copy", *command[1:], "out", "--forget-label", "three", "--retain", "train"), message)


def test_sizes_that_differ_only_between_portions_are_refused(folder: Path) -> None:
    """The processor prepares some dozens of images at once."""
    processor = load_image_processor(str(folder / "model"))
    processor.do_resize = False
    alike = [one for one in list_images(folder / "train", tiny.NAMES) if Image.open(str(one.content)).width == 16]
    other = next(one for one in list_images(folder / "train", tiny.NAMES) if one not in alike)
    with pytest.raises(mt.MnemotomyError, match="leaves the images at different sizes"):
        prepared([*alike[:64], other], processor, 3)
