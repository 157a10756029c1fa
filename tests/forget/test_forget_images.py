"""Forgetting a class in one call, on a small residual network that tells digits apart."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_images as tiny
import torch
from torch import nn

import mnemotomy as mt
from mnemotomy.core.errors import ConceptError, DataError, ModelError
from mnemotomy.core.image_models import load_image_processor
from mnemotomy.data.examples import Examples
from mnemotomy.engram.recalibrate import absorbed, recalibrated
from mnemotomy.forget.cost import images_read
from mnemotomy.forget.found import Found
from mnemotomy.forget.image_candidates import _few, first, recalibration_cost
from mnemotomy.methods.classifiers.classifier import logits
from mnemotomy.methods.classifiers.engram import inputs_of
from mnemotomy.methods.classifiers.problem import Problem
from mnemotomy.recipe.forgotten import save_found

OPTIONS = mt.ForgetOptions(trials=5, progress=False)


def sets() -> tuple[Examples, Examples]:
    return tiny.split(tiny.sets()[0])


@pytest.fixture(scope="module")
def found() -> Found:
    forget, retain = sets()
    return mt.forget(tiny.learned(), forget=forget, retain=retain, options=OPTIONS)


def test_the_class_is_forgotten_and_the_others_are_kept(found: Found) -> None:
    model = tiny.learned()
    before = mt.fingerprint(model)
    edited = found.edit.apply(model)
    assert mt.fingerprint(model) == before
    own, others = tiny.split(tiny.sets()[1])
    assert tiny.recognised(edited, own) < 0.05 < 0.9 < tiny.recognised(model, own)
    assert tiny.recognised(edited, others) > tiny.recognised(model, others) - 0.05
    assert not found.concerns
    assert len(found.workshop._made) == 1  # edits of methods are as large as the model
    assert [one.candidate for one in found.tried] == list(first(found.workshop.share)[:5])  # type: ignore[attr-defined]


def test_the_estimate_counts_the_images_that_a_search_reads() -> None:
    """It left out the 45 trials of ``automatic``: a search took ten times as long as it said."""
    forget, retain = sets()
    model, read = copy.deepcopy(tiny.learned()), 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal read
        read += len(output) * (3 if torch.is_grad_enabled() else 1)  # a backward pass follows

    next(one for one in model.modules() if isinstance(one, nn.Conv2d)).register_forward_hook(count)  # the first
    mt.forget(model, forget=forget, retain=retain, options=replace(OPTIONS, trials=4))  # the last is two-sided
    estimate = images_read(len(forget), len(retain), 4, normalised=True, two_sided=True)
    assert estimate == pytest.approx(read, rel=0.1)


def test_the_record_says_where_the_images_go(found: Found) -> None:
    record = found.record
    assert record["of"] == "image classifier"
    assert sum(record["taken for"].values()) == pytest.approx(1.0, abs=0.05)
    assert "three" not in record["accuracy by class"]
    assert "the accuracy on retained images" in record["reason"]
    images = sum(record["counts"]["examples"].values()) + len(found.request.unseen)
    assert images == sum(map(len, sets()))


def test_an_edit_of_the_head_alone_leaves_what_its_old_weights_read(found: Found) -> None:
    model = tiny.learned()
    head = model.get_submodule("classifier.1")
    bias = head.bias.detach().clone()
    with torch.no_grad():
        head.bias[tiny.FORGOTTEN] -= 100.0
        masked = found.judge.scores()
        head.bias.copy_(bias)
    assert masked.known < 1e-3
    assert masked.left > 0.95


def test_a_longer_search_repeats_a_shorter_one_and_resumes(tmp_path: Path, found: Found) -> None:
    forget, retain = sets()
    kept = replace(OPTIONS, study=tmp_path / "study.db", trials=4)
    short = mt.forget(tiny.learned(), forget=forget, retain=retain, options=kept)
    whole = mt.forget(tiny.learned(), forget=forget, retain=retain, options=replace(kept, trials=5))
    assert [one.candidate for one in whole.tried] == [one.candidate for one in found.tried]
    assert whole.tried[:4] == short.tried


def test_it_is_saved_as_a_model_and_as_an_edit(found: Found, tmp_path: Path) -> None:
    model, source = tiny.learned(), tiny.save(tiny.learned(), tmp_path / "source")
    about = {"source": str(source), "files": {"forget": {}}}
    save_found(found, model, load_image_processor(str(source)), tmp_path / "out", about)
    loaded = mt.load_model(tmp_path / "out")
    few = tiny.sets()[1][:32].inputs
    expected = logits(found.edit.apply(model), few)
    torch.testing.assert_close(logits(loaded.eval(), few), expected)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| accuracy on retained images |" in card
    assert "Forgotten images are now taken for: " in card
    assert not (tmp_path / "out" / "recipe.yaml").exists()
    save_found(found, model, None, tmp_path / "edit.safetensors", about, as_="edit")
    again = mt.Edit.load(tmp_path / "edit.safetensors").apply(mt.load_model(source))
    torch.testing.assert_close(logits(again.eval(), few), expected)


def test_an_edit_carries_what_recalibration_does() -> None:
    model, examples = tiny.learned().eval(), tiny.sets()[0][:200]
    scale = mt.erase(mt.Atlas(model, mt.collect(model, {"a": [examples.inputs[:100]], "b": [examples.inputs[100:]]},
                                                sites="all")), "a", 0.5)  # fmt: skip
    with scale.on(model):
        with recalibrated(model, inputs_of(examples, 50)):
            expected = logits(model, examples.inputs)
        found = absorbed(model, inputs_of(examples, 50))
        from mnemotomy.engram.deltas import Dense, Term

        with mt.Edit((Term(1.0, Dense(found, "", {})),)).on(model, check=False):
            torch.testing.assert_close(logits(model, examples.inputs), expected, atol=1e-4, rtol=1e-4)


def test_batch_normalisation_follows_images_of_all_classes_where_they_come_class_by_class() -> None:
    """The first images alone were of a few classes."""
    forget, retain = sets()
    by_class = retain[retain.labels.argsort(stable=True)]
    few = _few(Problem(tiny.learned(), forget, by_class, 10))
    assert len(few) == 512 < len(by_class)
    assert set(few.labels[:128].tolist()) == set(retain.labels.tolist())


def test_batch_normalisation_stays_where_the_retained_images_are_not_like_those_of_training() -> None:
    forget, retain = sets()
    two = retain[(retain.labels == 1) | (retain.labels == 7)]
    model = tiny.learned().eval()
    assert recalibration_cost(Problem(model, forget, retain, 10)) < 0.01
    assert recalibration_cost(Problem(model, forget, two, 10)) > 0.2
    found = mt.forget(model, forget=forget, retain=two, options=OPTIONS)
    assert any("batch normalisation stays as it is" in note for note in found.request.notes)
    assert all(one.candidate.form != "automatic" for one in found.tried)
    others = tiny.split(tiny.sets()[1])[1]
    edited = found.edit.apply(model)
    assert tiny.recognised(edited, others[(others.labels == 1) | (others.labels == 7)]) > 0.9


class Plain(nn.Sequential):
    """A module of the user's own."""


def test_any_module_and_any_form_of_images() -> None:
    torch.manual_seed(0)
    model = Plain(nn.Flatten(), nn.Linear(256, 10))
    forget, retain = sets()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    batches = [batch for _ in range(3) for batch in tiny.sets()[0].batches(64)]
    mt.fit(model, batches, lambda net, batch: nn.functional.cross_entropy(net(batch.inputs), batch.labels), optimizer)
    options = replace(OPTIONS, trials=2, two_sided=False)
    pair = mt.forget(
        model, forget=(forget.inputs, forget.labels), retain=(retain.inputs, retain.labels), options=options
    )
    loader = [{"pixel_values": one.inputs, "labels": one.labels} for one in retain.batches(100)]
    same = mt.forget(model, None, [(forget.inputs, forget.labels)], loader, options)
    assert [one.scores for one in pair.tried] == [one.scores for one in same.tried]


def test_what_the_classes_share_is_said_to_stay() -> None:
    forget, retain = sets()
    both = Examples(torch.cat([retain.inputs, forget.inputs[:5]]), torch.cat([retain.labels, forget.labels[:5]]))
    options = replace(OPTIONS, trials=1, two_sided=False)
    with pytest.warns(mt.SurgeryWarning):
        (note,) = mt.forget(tiny.learned(), forget=forget, retain=both, options=options).record["notes"]
    assert "images of the classes to forget, too (three)" in note


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"forget": None}, DataError, "say what to forget"),
        ({"retain": None}, DataError, "needs images to retain"),
        ({"retain": []}, ConceptError, "the retain set is empty"),
        ({"retain": [1, 2]}, DataError, "a batch is a pair of tensors"),
        ({"forget": "digits"}, DataError, "there are no images"),
        ({"forget": (torch.zeros(4, 1, 16, 16), torch.full((4,), 10))}, DataError, "has the label 10"),
        ({"forget": (torch.zeros(4, 1, 8, 8), torch.full((4,), 1))}, DataError, "different shapes"),
        ({"forget": (torch.zeros(1, 1, 16, 16), torch.full((1,), 1))}, ConceptError, "at least two images"),
        ({"forget": (-torch.ones(9, 1, 16, 16), torch.full((9,), 3))}, DataError, "recognises none of the images"),
    ],
)
def test_errors_say_what_to_do(changes: dict[str, object], error: type[Exception], message: str) -> None:
    forget, retain = sets()
    with pytest.raises(error, match=message):
        mt.forget(tiny.learned(), **{"forget": forget, "retain": retain, "options": OPTIONS, **changes})  # type: ignore[arg-type]


def test_a_language_model_needs_its_tokenizer() -> None:
    from learned_cities import trained

    forget, retain = sets()
    with pytest.raises(ModelError, match="writes text; give its tokenizer"):
        mt.forget(trained()[0], forget=forget, retain=retain)
