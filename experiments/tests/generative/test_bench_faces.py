"""Faces in a Wasserstein autoencoder: what is read of its images, the engrams of attributes."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch
from helpers import relative

from mnemotomy.core.errors import ConceptError, DataError
from mnemotomy.core.modules import observing
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.filters import Balanced
from mnemotomy.engram.sites import all_sites
from mnemotomy_bench.generative.faces import run
from mnemotomy_bench.generative.faces.cases import ALPHAS, CASES
from mnemotomy_bench.generative.faces.choosing import best, trials
from mnemotomy_bench.generative.faces.engrams import CODE, PAPER, Setting, Shift, combination_atlas
from mnemotomy_bench.generative.faces.methods import METHODS, attribute_vector
from mnemotomy_bench.generative.faces.pictures import write_case_figures
from mnemotomy_bench.generative.faces.portraits import hue_as_point, hue_from_point, load_portraits, without_attribute
from mnemotomy_bench.generative.faces.rare import Rare
from mnemotomy_bench.generative.faces.run import run_case, run_faces, write_face_figures
from mnemotomy_bench.generative.faces.subject import FaceSubject, covered
from mnemotomy_bench.generative.faces.summary import summary
from mnemotomy_bench.generative.faces.training import blurred

CASE = replace(
    CASES["toy-faces-tiny"],
    name="toy-test", side=16, width=2, latent=8, train=64, validation=32, test=32, epochs=2, batch_size=16,
    classified=48, classifier_width=2, classifier_epochs=2, collected=32, shown=2,
)  # fmt: skip

# the faces


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("faces")


@pytest.fixture(scope="module")
def subject(folder):
    pytest.importorskip("PIL", reason="Pillow is not installed; it comes with the extra vision")
    return FaceSubject(CASE, 0, folder)


def test_the_splits_of_faces(subject, folder):
    splits = [load_portraits(CASE, split, folder / "faces") for split in ("train", "validation", "test", "classifier")]
    assert [len(split) for split in splits] == [64, 32, 32, 48]
    assert splits[0].images.shape == (64, 3, 16, 16)
    assert bool(((splits[0].factors >= 0) & (splits[0].factors <= 1)).all())
    everyone = torch.cat([split.pixels.flatten(1) for split in splits])
    assert len(everyone.unique(dim=0)) == len(everyone)  # nobody is in two splits
    batches = list(splits[0].batches(24, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in batches] == [24, 24, 16]
    shuffled = torch.cat([batch.factors for batch in batches])
    assert torch.equal(shuffled.sort(0).values, splits[0].factors.sort(0).values)


def test_the_truth_is_of_the_faces_that_have_it(subject, folder):
    test = load_portraits(CASE, "test", folder / "faces")
    truth = without_attribute(CASE, "test", 2, folder / "faces")
    having = test.having(2)
    assert torch.equal(truth.factors, having.factors)
    assert not truth.attributes[:, 2].any()
    inside = covered(having.images, truth.images)
    assert bool(inside.flatten(1).any(1).all())
    assert not inside.all()


def test_the_hue_is_a_point_on_a_circle(subject):
    factors = subject.test.factors
    points = hue_as_point(factors)
    assert points.shape == (32, 8)
    assert bool(((points >= 0) & (points <= 1)).all())
    torch.testing.assert_close(hue_from_point(points), factors, atol=1e-5, rtol=0)


def test_a_blur_keeps_the_mean():
    images = torch.rand(2, 3, 16, 16)
    assert blurred(images, 0.0) is images
    soft = blurred(images, 1.0)
    assert soft.std() < images.std()
    torch.testing.assert_close(blurred(torch.full((1, 3, 16, 16), 0.3), 1.5), torch.full((1, 3, 16, 16), 0.3))


# the engrams


def two_concepts(subject, place, share=None):
    """Σ⁺ and Σ⁻ of the rows that the code's site reads, extended by 1, straight from the codes."""
    faces = subject.faces("train")
    with observing(subject.autoencoder):
        codes = subject.autoencoder.encode(faces.images).double()
    rows = torch.cat([codes, torch.ones(len(codes), 1)], 1)
    own, rest = rows[faces.attributes[:, place]], rows[~faces.attributes[:, place]]
    weight = 1.0 if share is None else share / (1 - share) * len(rest) / len(own)
    return weight * own.T @ own, rest.T @ rest, own, rest


@pytest.mark.parametrize("place", [0, 2])
def test_the_papers_engram_is_brute_force(subject, place):
    plus, minus, *_ = two_concepts(subject, place)
    weight = subject.engrams.linear.weight(CODE).double()
    expected = weight @ plus @ torch.linalg.pinv(plus + minus, hermitian=True, rtol=1e-6)
    found = subject.engrams.engram(place, Setting(sites="code"))
    assert found.sites() == (CODE,)
    assert relative(found[CODE], expected) < 1e-3


@pytest.mark.parametrize("share", [0.06, 0.5])
def test_a_rare_concept_is_one_whose_rows_weigh_less(subject, share):
    plus, minus, *_ = two_concepts(subject, 1, share)
    weight = subject.engrams.linear.weight(CODE).double()
    expected = weight @ plus @ torch.linalg.pinv(plus + minus, hermitian=True, rtol=1e-6)
    assert relative(subject.engrams.engram(1, Setting(Rare(share), "code"))[CODE], expected) < 1e-3
    with pytest.raises(DataError, match="between 0 and 1, not 1"):
        Rare(1.0)


def test_reweighting_to_one_half_is_balancing():
    mu = torch.linspace(0, 1, 11)
    torch.testing.assert_close(Rare(0.5).response(mu, 0.1), Balanced().response(mu, 0.1))
    torch.testing.assert_close(Rare(0.1).response(mu, 0.1), mu)
    assert float(Rare(0.06).response(torch.tensor(0.3), 0.3)) == pytest.approx(0.06)  # shared with everything


def test_the_centred_null_state_draws_the_mean_face(subject):
    """The same as the atlas's own delta form, with a network W₀ that gives one answer to everything."""
    *_, rest = two_concepts(subject, 0)
    null = copy.deepcopy(subject.autoencoder)
    layer = null.decoder[0]
    with torch.no_grad():
        layer.bias.copy_(layer.weight @ rest.mean(0)[:-1].float() + layer.bias)
        layer.weight.zero_()
    atlas = subject.engrams.linear
    concepts = [name for name in atlas.concepts if name[0] == "1"]
    delta = Atlas(subject.autoencoder, atlas.moments, base=null).engram(concepts, Rare(0.06))
    found = subject.engrams.engram(0, Setting(Rare(0.06), "code", centred=True, strength=1.5))
    assert relative(found[CODE], 1.5 * delta[CODE]) < 1e-3


def test_a_shift_is_the_least_squares_solution(subject):
    *_, own, rest = two_concepts(subject, 1)
    rows = torch.cat([own, rest])
    weight = subject.engrams.linear.weight(CODE).double()
    gained = weight[:, :-1] @ (own.mean(0) - rest.mean(0))[:-1]
    wanted = torch.cat([gained.expand(len(own), -1), torch.zeros(len(rest), len(gained)).double()])
    solved = (torch.linalg.pinv(rows, rtol=1e-3) @ wanted).T  # Eq. 2 with W v in place of ΔW x
    found = subject.engrams.engram(1, Shift(strength=2.0))[CODE]
    assert relative(found / found.norm(), solved / solved.norm()) < 1e-3
    taken = (own @ found.double().T).mean(0)
    assert relative(taken, 2 * gained) < 1e-3


def test_every_layer_of_the_papers_engram(subject):
    engram = subject.engrams.engram(0, PAPER)
    assert set(engram.sites()) == set(all_sites(subject.autoencoder))
    with engram.on(subject.autoencoder, check=False):
        assert bool(subject.draw(subject.test.images).isfinite().all())


def test_an_attribute_vector_moves_every_code(subject):
    with_it, without = subject.engrams.mean_codes(3)
    faces = subject.faces("train")
    with observing(subject.autoencoder):
        codes = subject.autoencoder.encode(faces.images)
        expected = subject.autoencoder.decode(codes - 0.5 * (with_it - without))
    mean = codes[faces.attributes[:, 3]].mean(0)
    torch.testing.assert_close(with_it, mean, atol=1e-4, rtol=1e-4)
    found = subject.draw(faces.images, -0.5 * attribute_vector(subject, 3))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_an_attribute_of_everyone_has_no_engram(subject):
    faces = subject.faces("train").having(0)
    with pytest.raises(ConceptError, match="attribute 0 is in every face or in none"):
        combination_atlas(subject.autoencoder, faces, [CODE])


# the runs


def test_a_case_is_run_once(folder, subject, monkeypatch):
    monkeypatch.setattr(run, "CANDIDATES", (PAPER, Setting(Rare(0.06), "code", centred=True)))
    records = run_case(folder, CASE)
    assert [record["method"] for record in records] == ["truth", *METHODS]
    for record in records[1:]:
        assert record["seeds"] == [0]
        assert 0.0 <= record["left"] <= 1.0
        assert record["others"] >= 0.0
        assert -1.0 <= record["rank_correlation"] <= 1.0
        assert record["erased_outside"] >= 0.0
        assert len(record["curves"]["glasses"]["probability"]["hat"]) == len(ALPHAS)
        assert set(record["arithmetic"]["states"]) >= {"μ + glasses − goatee", "μ − glasses + goatee"}
        own = record["curves"]["hat"]["probability"]["hat"][ALPHAS.index(1.0)]
        assert own == pytest.approx(record["left_hat"], abs=1e-5)
    assert records[0]["curves"] is None
    assert set(records[-1]["settings"]) == set(CASE.attributes)
    cells = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    assert run_case(folder, CASE) == records
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")} == cells
    json.dumps(records)


def test_means_and_spreads_are_over_seeds():
    cells = [
        {
            "seed": seed,
            "left": 0.1 * seed,
            "attributes": {name: {"left": 0.1 * seed, "others": 0.0} for name in CASE.attributes},
            "redrawn_read": {"accuracy": [0.5, 1.0]},
            "faces_read": {"accuracy": [1.0, 1.0]},
        }
        for seed in (1, 3)
    ]
    record = summary(CASE, "truth", cells, None)
    assert record["left"] == pytest.approx(0.2)
    assert record["left_spread"] == pytest.approx(0.02**0.5)
    assert record["classifier_accuracy"] == 0.75
    assert record["monotone"] is None


def test_the_setting_of_the_least_cost_is_chosen(subject):
    found = trials(subject, 0, [PAPER, Setting(Rare(0.06), "code")])
    assert [trial.place for trial in found] == [0, 1]
    chosen = best(found)
    assert chosen.cost == min(trial.left + trial.others + trial.factors for trial in found)


@pytest.mark.slow
def test_the_figures_of_a_case(folder, subject, monkeypatch, figures):
    monkeypatch.setattr(run, "CANDIDATES", (PAPER,))
    records = run_case(folder, CASE)
    paths = write_case_figures(subject, [PAPER] * 4, records, folder)
    names = ["sliders", "arithmetic", "sliders-rare", "sliders-paper", "curves"]
    assert [path.name for path in paths] == [f"toy-test-{name}.png" for name in names]
    assert all(path.is_file() for path in paths)
    drawn = [record["title"] for record in records if record["curves"]]
    assert [len(figure.axes) for figure in figures] == [4, 1, 4, 4, 4 * len(drawn)]
    assert [axis.get_ylabel() for axis in figures[-1].axes[::4]] == [f"{title}\nprobability" for title in drawn]


@pytest.mark.slow
def test_the_tiny_faces(tmp_path):
    records = {record["method"]: record for record in run_faces(tmp_path, scale="tiny")}
    ours, paper, truth = records["engram-automatic"], records["engram"], records["truth"]
    assert truth["left"] < 0.3 < truth["before"]
    assert ours["left"] < 0.5 * ours["before"]
    assert ours["rank_correlation"] == pytest.approx(-1.0)
    assert ours["others"] < 0.5 * paper["others"]
    assert ours["erased_inside"] < 0.5 * ours["untouched_inside"]
    assert len(write_face_figures(tmp_path, scale="tiny")) == 5
