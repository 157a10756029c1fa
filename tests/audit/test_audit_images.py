"""The audit of a classifier, on networks of digits that were built to deserve each verdict."""

from __future__ import annotations

import copy
import functools
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import tiny_images as tiny
import torch
from torch import nn

import mnemotomy as mt
from mnemotomy.audit.attack import attacks
from mnemotomy.audit.images_asking import turned
from mnemotomy.audit.images_case import ImageCase
from mnemotomy.audit.images_damage import gaps
from mnemotomy.audit.images_relearn import first_of_each
from mnemotomy.audit.weights import pruned, quantised, with_noise
from mnemotomy.core.errors import ConfigurationError, DataError, ModelError
from mnemotomy.data.examples import Examples
from mnemotomy.methods.classifiers.classifier import cross_entropy, reciprocal_ranks

FORGET, RETAIN = tiny.split(tiny.sets()[0])
UNSEEN, KEPT = tiny.split(tiny.sets()[1])


@functools.cache
def refusing() -> nn.Module:
    """Taught, in its last layer alone, to call every forgotten digit an eight."""
    model = copy.deepcopy(tiny.learned()).requires_grad_(False)
    head = model.get_submodule("classifier").requires_grad_(True)
    both = Examples(
        torch.cat([FORGET.inputs, RETAIN.inputs]), torch.cat([torch.full_like(FORGET.labels, 8), RETAIN.labels])
    )
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    model.eval()
    for batch in [one for _ in range(8) for one in both.batches(64, torch.Generator().manual_seed(0))]:
        optimizer.zero_grad()
        cross_entropy(model, batch).backward()
        optimizer.step()
    return model


@functools.cache
def masking() -> nn.Module:
    """Whose last layer never says the class."""
    model = copy.deepcopy(tiny.learned())
    with torch.no_grad():
        model.get_submodule("classifier.1").bias[tiny.FORGOTTEN] -= 100.0
    return model


@functools.cache
def edited() -> mt.Edit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mt.forget(
            tiny.learned(), forget=FORGET, retain=RETAIN, options=mt.ForgetOptions(trials=5, progress=False)
        ).edit


def report(after: Any, gold: nn.Module | None = None, parts: tuple[str, ...] = (), **sets: Any) -> Any:
    options = mt.AuditOptions(parts=parts or mt.AuditOptions().parts, progress=False)
    given = {"forget": FORGET, "retain": KEPT, "holdout": UNSEEN, **sets}
    return mt.audit(tiny.learned(), after, gold=gold, options=options, **given)


QUICK = ("asking", "image-head", "image-loss", "image-quantised", "image-relearn-others", "damage")


@pytest.mark.parametrize(
    ("after", "word"),
    [
        (tiny.learned, "not forgotten"),
        (masking, "hidden"),
        (refusing, "hidden"),
        (edited, "forgotten here"),
    ],
)
def test_each_network_gets_the_word_that_it_deserves(after: Any, word: str) -> None:
    found = report(after(), parts=QUICK)
    assert found.verdict.word == word, [(one.attack, one.trace) for one in found.findings]
    assert found.verdict.damage.startswith("No damage was found")
    assert "answer" not in f"{found.verdict.meaning} {found.verdict.reason}"
    assert "image" in found.verdict.meaning or "recognise" in found.verdict.meaning


@pytest.mark.slow
def test_a_network_that_never_saw_the_class_is_as_one_that_never_knew_it() -> None:
    never, gold = tiny.learned(tiny.FORGOTTEN), tiny.learned(tiny.FORGOTTEN, 1)
    found = report(never, gold)
    assert found.verdict.word == "as never known", found.verdict.reason
    alone = report(never)
    assert alone.verdict.word == "forgotten here"
    assert "There is no gold model to compare with" in alone.verdict.reason


def test_only_a_gold_model_makes_relearning_decide() -> None:
    parts = ("image-relearn-1",)
    (alone,) = report(edited(), parts=parts).findings
    assert alone.trace is None
    assert "only against a gold model" in alone.sentence
    (found,) = report(edited(), tiny.learned(tiny.FORGOTTEN), parts).findings
    assert found.trace is not None
    assert "Left of what it knew" in found.sentence


def test_damage_is_found_where_it_is() -> None:
    broken = copy.deepcopy(tiny.learned())
    with torch.no_grad():
        broken.get_submodule("classifier.1").bias[:3] -= 50.0
    found = {one.attack: one for one in report(broken, parts=("damage",)).findings}
    assert found["image-retained"].harm
    by_class = found["image-retained"].curves["after"]
    assert by_class["zero"] == 0.0 < 0.9 < by_class["nine"]
    assert found["image-retained"].shown[0].keys() == {"image of", "taken for"}


def test_the_report_is_about_images_and_a_second_run_reads_nothing_again(tmp_path: Path) -> None:
    options, kept = mt.AuditOptions(parts=("image-plain",), folder=tmp_path, progress=False), []
    given: dict[str, Any] = {"forget": FORGET, "retain": KEPT, "earlier": {"old": UNSEEN}, "options": options}
    for _ in range(2):
        mt.audit(tiny.learned(), masking(), **given).save(tmp_path)
        kept.append({path: path.stat().st_mtime_ns for path in (tmp_path / "readings").iterdir()})
    assert kept[0] == kept[1]
    assert f"{len(FORGET)} images of the forget set" in (tmp_path / "deletion-report.md").read_text()
    page = (tmp_path / "audit.html").read_text()
    assert "<dt>image of</dt><dd>three</dd>" in page
    assert "% of the images are recognised (" in page  # the earlier request
    record = json.loads((tmp_path / "audit.json").read_text())
    assert [one["attack"] for one in record["earlier"]["old"]] == ["image-plain", "image-augmented"]
    assert any("No hold-out set was given" in note for note in record["notes"])


def test_every_attack_declares_itself_and_its_kind() -> None:
    found = attacks("classifiers")
    assert len(found) >= 18
    assert all(name.startswith("image-") and kind.paper and kind.unit for name, kind in found.items())
    assert not set(found) & set(attacks())
    assert {kind.part for kind in found.values()} == {"asking", "inside", "membership", "relearn", "damage"}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"retain": None}, DataError, "needs images that were to be forgotten, and others to be kept"),
        ({"retain": FORGET}, DataError, "no images of other classes"),
        ({"forget": (torch.zeros(3, 1, 16, 16), torch.full((3,), 12))}, DataError, "has the label 12"),
        ({"options": mt.AuditOptions(parts=["greedy"])}, ConfigurationError, "there is no part 'greedy'"),
        ({"after": nn.Sequential(nn.Flatten(), nn.Linear(256, 4))}, ModelError, "does not have the 10 classes"),
    ],
)
def test_errors_say_what_to_do(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    given = {"after": masking(), "forget": FORGET, "retain": KEPT, **changes}
    with pytest.raises(error, match=message):
        mt.audit(tiny.learned(), given.pop("after"), **given)


def test_parts_that_need_more_say_so() -> None:
    few = Examples(FORGET.inputs[:3], FORGET.labels[:3])
    notes = report(masking(), parts=("image-relearn-5", "image-loss", "image-unseen"), forget=few, holdout=KEPT).notes
    relearning = "Relearning on 5 images of each class (image-relearn-5)"
    assert f"Not run: {relearning}. Reason: at least 10 images of each forgotten class." in notes
    others = "Other images of the classes (image-unseen), Membership by loss (image-loss)"
    assert any(note.startswith(f"Not run: {others}. Reason: a hold-out: images of the") for note in notes)


def test_numbers_by_hand() -> None:
    found = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    assert reciprocal_ranks(found, torch.tensor([0, 0])).tolist() == pytest.approx([1.0, 1 / 3])
    sure = torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.1, 0.0], [0.0, 0.1]])
    error = gaps(sure, torch.tensor([1.0, 0.0, 1.0, 1.0]))
    assert error.tolist() == pytest.approx([0.4999, 0.4999, 0.475, 0.475], abs=1e-3)
    own, rest = first_of_each(Examples(torch.arange(6.0), torch.tensor([0, 1, 0, 1, 0, 1])), 2)
    assert (own.inputs.tolist(), rest.inputs.tolist()) == ([0, 1, 2, 3], [4, 5])
    image = torch.zeros(1, 1, 3, 3)
    image[0, 0, 0, 1] = 1.0
    assert turned(image, 90.0)[0, 0].round().nonzero().tolist() in ([[1, 0]], [[1, 2]])


def test_the_floor_has_no_image_of_a_forgotten_class() -> None:
    both = Examples(torch.cat([KEPT.inputs, UNSEEN.inputs]), torch.cat([KEPT.labels, UNSEEN.labels]))
    case = ImageCase(FORGET, both, None, tiny.NAMES)
    assert len(case.others) == 300
    assert not any(bool((one == image).all()) for image in UNSEEN.inputs[:5] for one in case.others.inputs)


def test_convolutions_are_rounded_pruned_and_shaken() -> None:
    model, name = tiny.learned(), "resnet.encoder.stages.0.layers.0.layer.0.convolution"
    weight = model.get_submodule(name).weight
    rounded = quantised(model, 4).get_submodule(name).weight
    assert max(len(row.unique()) for row in rounded.flatten(1)) <= 15
    assert float((pruned(model, 0.3).get_submodule(name).weight == 0).double().mean()) == pytest.approx(0.3, abs=0.01)
    assert not torch.equal(with_noise(model, 0.1, 0).get_submodule(name).weight, weight)
