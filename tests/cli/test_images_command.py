"""``mnemotomy forget`` of an image classifier, from the command line alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_images as tiny
from commands import call, fails, work_beside

import mnemotomy as mt
from mnemotomy.methods.classifiers.classifier import accuracy


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, and its training and test images in folders by class and in a file."""
    folder = tmp_path_factory.mktemp("made")
    tiny.save(tiny.learned(), folder / "model")
    for name, examples in zip(("train", "test"), tiny.sets(), strict=True):
        tiny.write_pictures(examples, folder / name)
    tiny.write_parquet(tiny.sets()[0], folder / "train.parquet")
    tiny.write_pictures(tiny.split(tiny.sets()[0])[1], folder / "rest")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return work_beside(made, tmp_path, monkeypatch)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "asked",
    [
        ["--forget", "train/three", "--retain", "train"],
        ["--forget-label", "three", "--retain", "train.parquet"],
    ],
)
def test_a_class_is_forgotten(asked: list[str]) -> None:
    done = call("forget", "model", "out", *asked, "--trials", "8", "--json", "record.json")
    assert done.exit_code == 0, done.output
    assert "accuracy on retained images" in done.stdout
    assert "taken for: " in done.stdout
    folder = "train/three" if "--forget" in asked else "IMAGES"
    assert f"\n  mnemotomy audit model out out-audit --forget {folder} --retain OTHERS\n" in done.stdout
    assert ("images of --retain are those of --forget" in done.stderr) == ("--forget" in asked)
    own, others = tiny.split(tiny.sets()[1])
    edited = mt.load_model("out")
    assert accuracy(edited, own) < 0.05
    assert accuracy(edited, others) > accuracy(tiny.learned(), others) - 0.05
    record = json.loads(Path("out", "mnemotomy.json").read_text())
    assert record == json.loads(Path("record.json").read_text())
    assert len(record["files"]["reference"]["retain-given" + Path(asked[3]).suffix]) == 64
    assert record["asked"] == ({"labels": ["three"]} if "--forget-label" in asked else {})
    assert mt.fingerprint(edited) == record["model"]["fingerprint_after"]
    assert Path("out", "preprocessor_config.json").exists()
    assert Path(".out.study.db").exists()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--retain", "rest"], "say what to forget by one of --forget FOLDER and --forget-label CLASS"),
        (["--forget", "train/three"], "a classifier needs --retain"),
        (["--forget-label", "tiger", "--retain", "train"], "'tiger' is not a class of the model"),
        (["--forget-label", "three", "--retain", "rest"], "--retain has no images of three"),
        (["--forget-label", "three", "--retain", "train/three"], "--retain has no images of other classes"),
        (["--about", "three", "--retain", "rest"], "--about is for language models, and model is an image classifier"),
        (
            ["--forget", "train/three", "--retain", "rest", "--neighbours", "others.jsonl"],
            "--neighbours is for language models",
        ),
        (["--forget", "train/three", "--retain", "rest", "--as", "lora"], "--as lora is for language models"),
        (["--forget", "none", "--retain", "rest"], "none: there are no images"),
        (["--forget", "train/three", "--retain", "rest", "--sites", "query"], "no site is named 'query'"),
    ],
)
def test_bad_options_are_one_line(arguments: list[str], message: str) -> None:
    fails(call("forget", "model", "out", *arguments), message)
    assert not Path("out").exists()


@pytest.mark.usefixtures("folder")
def test_a_result_is_audited_as_a_folder_or_as_an_edit() -> None:
    done = call("forget", "model", "e.safetensors", "--forget-label", "three", "--retain", "train", "--as", "edit",
                "--trials", "8")  # fmt: skip
    assert done.exit_code == 0, done.output
    sets = ["--forget", "train/three", "--retain", "test"]
    for after, word in (("e.safetensors", "forgotten here"), ("model", "not forgotten")):
        done = call(
            "audit",
            "model",
            after,
            f"audit-{after}",
            *sets,
            "--holdout",
            "test/three",
            "--only",
            "asking",
            "--only",
            "damage",
        )
        assert done.exit_code == 0, done.output
        assert word in done.stdout.splitlines()
        assert "No damage was found" in done.stdout  # although the test images have threes, too
        assert "images of --retain are those of --holdout" in done.stderr
    report = json.loads(Path("audit-model", "audit.json").read_text())
    assert report["record"]["asked"] == "images"
    assert "SHA-256" in report["record"]["about"]["forget file"]
    done = call(
        "audit", "model", "model", "again", "--forget-label", "three", "--retain", "train", "--only", "image-plain"
    )
    assert "not forgotten" in done.stdout.splitlines()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--forget", "train/three"], "a classifier needs --retain, and one of"),
        (["--retain", "rest"], "a classifier needs --retain, and one of"),
        (["--forget", "train/three", "--retain", "rest", "--tasks", "x"], "--tasks is for language models"),
        (
            ["--forget", "train/three", "--retain", "rest", "--only", "greedy"],
            "there is no part 'greedy'; choose among",
        ),
    ],
)
def test_bad_options_of_an_audit_are_one_line(arguments: list[str], message: str) -> None:
    fails(call("audit", "model", "model", "audit", *arguments), message)
