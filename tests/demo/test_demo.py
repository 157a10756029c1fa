"""The demo and its targets, and the README's example."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from mnemotomy.data.digits import load_digits
from mnemotomy.demo.digits import (
    DigitsConfig,
    accuracies,
    combined,
    diagonal_and_rest,
    digits_demo,
    erasure_matrix,
    subsets,
    train_classifier,
)
from mnemotomy.demo.language import LanguageConfig, example_prompts
from mnemotomy.demo.run import run_demo
from mnemotomy.demo.world import GROUPS, small_world
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import collect
from mnemotomy.engram.recalibrate import recalibrate_

README = Path(__file__).parents[2] / "README.md"

pytestmark = pytest.mark.filterwarnings("error::mnemotomy.core.errors.SurgeryWarning")


@pytest.fixture(scope="module")
def short():
    train, test = load_digits()
    model = train_classifier(train, DigitsConfig(width=32, dropout=0.0, epochs=8))
    moments = collect(model, [(train.images, train.labels)], concepts=lambda batch: batch[1])
    atlas = Atlas(model, moments)
    return model, [atlas[digit].materialize() for digit in range(10)], test


def test_digits_are_split_once_and_evenly():
    train, test = load_digits(3)
    assert len(train.labels) + len(test.labels) == 1797
    assert train.images.min() >= 0
    assert train.images.max() <= 1
    counts = torch.bincount(test.labels).float()
    assert counts.max() / counts.min() < 1.1
    assert torch.equal(load_digits(3)[1].labels, test.labels)


def test_diagonal_and_rest():
    assert diagonal_and_rest(torch.tensor([[0.1, 0.9], [0.7, 0.0]])) == (pytest.approx(0.1), pytest.approx(0.8))


def test_a_subset_is_the_sum_of_its_members(short):
    model, engrams, _test = short
    with combined(engrams, [2, 5], 1.0).on(model, check=False):
        together = [p.detach().clone() for p in model.parameters()]
    with (-1.0 * engrams[2]).on(model), (-1.0 * engrams[5]).on(model, check=False):
        one_by_one = [p.detach().clone() for p in model.parameters()]
    for left, right in zip(together, one_by_one, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)


def test_subsets_of_size_one_are_the_matrix(short):
    model, engrams, test = short
    matrix = erasure_matrix(model, engrams, 1.0, test)
    first = subsets(model, engrams, 1.0, test, sizes=[1])[0]
    off = ~torch.eye(10, dtype=torch.bool)
    assert first["subsets"] == 10
    assert first["erased_accuracy"] == pytest.approx(float(matrix.diagonal().mean()))
    assert first["kept_accuracy"] == pytest.approx(float(matrix[off].mean()))


def test_subsets_are_recalibrated_on_the_classes_kept():
    train, test = load_digits()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 10))
    recalibrate_(model.eval(), [train.images])
    atlas = Atlas(model, collect(model, [(train.images, train.labels)], concepts=lambda batch: batch[1]))
    engrams = [atlas[digit].materialize() for digit in range(10)]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    one, ten = subsets(model, engrams, 1.0, test, sizes=[1, 10], recalibrate=train)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    kept = []
    for digit in range(10):
        edited = recalibrate_(combined(engrams, [digit], 1.0).apply(model), [train.images[train.labels != digit]])
        scores = accuracies(edited, test)
        kept.append(float(torch.cat([scores[:digit], scores[digit + 1 :]]).mean()))
    assert one["kept_accuracy"] == pytest.approx(sum(kept) / 10)
    assert one != subsets(model, engrams, 1.0, test, sizes=[1])[0]
    assert ten == subsets(model, engrams, 1.0, test, sizes=[10])[0]  # nothing is kept to recalibrate on


def test_training_leaves_the_random_state():
    before = torch.random.get_rng_state()
    train, _ = load_digits()
    assert isinstance(train_classifier(train, DigitsConfig(width=8, epochs=1)), nn.Module)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_examples_shown_cover_every_group():
    world = small_world()
    config = LanguageConfig()
    targets = config.targets(world)
    assert "Kyoto" in targets
    assert len(targets) > 1
    kinds = {kind for _, _, kind in example_prompts(world, targets)}
    assert len(kinds) == 6


@pytest.mark.slow
def test_digits_targets():
    found = digits_demo(DigitsConfig())
    before, after = torch.tensor(found["before"]), torch.tensor(found["after"])
    off = ~torch.eye(10, dtype=torch.bool)
    assert after.diagonal().max() <= 0.05
    assert after[off].mean() >= 0.95 * before.mean()
    assert sum(row["subsets"] for row in found["subsets"]) == 1023


@pytest.mark.slow
def test_the_demo_reaches_its_targets(tmp_path):
    found = run_demo(tmp_path, small_world=True)
    language = found["language"]
    assert set(language["before"]) == set(language["after"]) == set(GROUPS)
    assert language["after"]["target_train"] <= 0.10
    assert language["after"]["target_heldout"] <= 0.10
    for group in ("other_facts", "in_context", "arithmetic"):
        assert abs(language["after"][group] - language["before"][group]) <= 0.05
        assert language["before"][group] >= 0.95
    assert json.loads((tmp_path / "demo.json").read_text()) == json.loads(json.dumps(found))
    assert (tmp_path / "report.html").stat().st_size > 50_000
    assert len(list(tmp_path.glob("*.png"))) == 4


@pytest.mark.slow
def test_the_readme_example_runs():
    example = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    assert len(example[1].strip().splitlines()) <= 14
    exec(compile(example[1], "README.md", "exec"), {})
