"""What the engrams of all classes do: erased in turn, in groups, injected; their spectra; degradation by similarity."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
from class_problems import images
from helpers import relative
from tiny_classwise import CASE

from mnemotomy.data.examples import Examples
from mnemotomy.engram.collect import CollectOptions, collect
from mnemotomy.engram.recalibrate import recalibrated
from mnemotomy.methods.classifiers import engram as erasure
from mnemotomy.methods.classifiers.engram_automatic import ClassifierEngramAutomatic
from mnemotomy_bench.classwise import class_engrams as anatomies
from mnemotomy_bench.classwise.class_engrams import Anatomy, class_atlas
from mnemotomy_bench.classwise.degradation import degradation, mean_cosines, rank_correlation
from mnemotomy_bench.classwise.grids import Grid
from mnemotomy_bench.classwise.matrices import OnMoments, automatic_matrix, grouped, judged, matrices, two_sided_matrix
from mnemotomy_bench.classwise.observing import see
from mnemotomy_bench.classwise.spectrum import overlaps, spectra
from mnemotomy_bench.classwise.subject import Subject
from mnemotomy_bench.classwise.sufficiency import sufficiency

pytest.importorskip("sklearn", reason="scikit-learn is not installed; it comes with the extra demo")


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    return Subject(CASE, 0, tmp_path_factory.mktemp("anatomy"))


@pytest.fixture(scope="module")
def anatomy(subject):
    return Anatomy(subject)


def test_matrices_and_groups(anatomy):
    found = matrices(anatomy)
    settings = asdict(CASE.grid.automatic)
    ours = automatic_matrix(anatomy, settings)
    assert set(found["matrices"]) == set(found["summary"])
    for matrix in (found["matrices"] | ours["matrices"]).values():
        assert torch.tensor(matrix).shape == (10, 10)
    assert found["summary"]["α chosen"]["erased_mean"] < 0.2
    assert len(found["strengths"]) == 10
    assert len(grouped(anatomy, found["strengths"], settings)["matrices"]["automatic"]) == 2
    no_superclasses = Anatomy(anatomy.subject)
    no_superclasses.subject = type("Named", (), {"superclasses": {}, "class_names": tuple("abcd"), "classes": 4})()
    assert no_superclasses.groups() == {"a, b": (0, 1), "c, d": (2, 3)}


def test_the_two_sided_edit_of_every_class(anatomy):
    found = two_sided_matrix(anatomy, {"read": 200, "repairing": 200, "overshoot": 0.6})
    assert torch.tensor(found["matrices"]["two-sided"]).shape == (10, 10)
    assert found["summary"]["two-sided"]["erased_mean"] < 0.05
    assert found["summary"]["two-sided"]["others_lost_mean"] < 0.05


def test_ours_on_shared_moments_is_ours(subject, monkeypatch):
    exact = CollectOptions(dtype=torch.float64)
    for module in (anatomies, erasure):  # in float32 the order of sums would move directions at the cut
        monkeypatch.setattr(module, "collect", lambda *given, options, **more: collect(*given, options=exact, **more))
    settings = {"excesses": (0.2,), "strengths": (0.6, 1.0), "read": 100}
    alone = see(ClassifierEngramAutomatic(**settings)(subject.problem), subject.test)
    moments = class_atlas(subject.original, subject.given).moments
    shared = see(OnMoments(**settings).erased(subject.problem, moments), subject.test)
    torch.testing.assert_close(shared.logits, alone.logits, atol=0.1, rtol=0.1)
    before = see(subject.original, subject.test)
    assert relative(shared.logits - before.logits, alone.logits - before.logits) < 0.05


def test_a_matrix_is_judged_by_its_diagonal_and_the_rest():
    before = torch.tensor([1.0, 0.5])
    found = judged(before, torch.tensor([[0.1, 0.4], [0.8, 0.0]]))
    assert found["erased_mean"] == pytest.approx(0.05)
    assert found["erased_worst"] == pytest.approx(0.1)
    assert found["others_lost_mean"] == pytest.approx(0.15)
    assert found["others_lost_worst"] == pytest.approx(0.2)


def test_degradation_has_a_point_per_pair(anatomy):
    cosines = mean_cosines(anatomy)
    torch.testing.assert_close(cosines.diagonal(), torch.ones(10, dtype=torch.float64))
    before = [1.0] * 10
    after = (1.0 - cosines / 10).tolist()  # the more alike, the more is lost
    found = degradation(anatomy, before, {"made": after})["made"]
    assert len(found["points"]) == 90
    assert found["rank_correlation"]["all"]["rho"] == pytest.approx(1.0, abs=1e-3)
    assert found["rank_correlation"]["same_superclass"]["points"] == 40
    assert set(found["mean_drop"]) == {"all", "same_superclass", "different_superclass"}


def test_the_rank_correlation_and_its_interval():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, generator=generator)
    y = x + torch.randn(200, generator=generator)
    found = rank_correlation(x.tolist(), y.tolist(), [i % 20 for i in range(200)])
    assert found["low"] < found["rho"] < found["high"]
    assert 0.55 < found["rho"] < 0.8
    assert rank_correlation([1.0, 2.0], [3.0, 3.0], [0, 1]) is None


def test_engrams_suffice(anatomy):
    found = sufficiency(anatomy)
    assert all(one["auc_before"] == 0.5 for one in found["null_state"])
    assert sum(one["auc_after"] for one in found["null_state"]) / 10 > 0.9
    whole = found["all_engrams"]
    assert whole["after"] == pytest.approx(whole["original"], abs=0.02)
    assert found["retrained"]["recall_before"] == 0.0
    assert found["retrained"]["class"] == "0"


def test_engrams_are_scored_behind_statistics_of_their_own():
    problem = images()
    parts = problem.forget, problem.retain
    everything = Examples(torch.cat([one.inputs for one in parts]), torch.cat([one.labels for one in parts]))
    classes = problem.classes
    subject = SimpleNamespace(
        original=problem.model, retrained=problem.model, given=everything, test=everything, classes=classes,
        class_names=list(map(str, range(classes))), case=SimpleNamespace(forget=0, grid=Grid()),
        original_view=SimpleNamespace(test=see(problem.model, everything)),
    )  # fmt: skip
    before = {name: value.clone() for name, value in problem.model.state_dict().items()}
    stale, fresh = (sufficiency(Anatomy(subject), recalibrate) for recalibrate in (False, True))
    assert stale["null_state"] != fresh["null_state"]
    assert [one["auc_before"] for one in fresh["null_state"]] == [0.5] * classes
    with recalibrated(problem.model, [everything.inputs]):
        assert fresh["all_engrams"]["after"] == see(problem.model, everything).accuracy
    assert all(torch.equal(value, before[name]) for name, value in problem.model.state_dict().items())


def test_engrams_are_collected_from_as_many_images_as_asked_for(subject, anatomy):
    few = copy.copy(subject)
    few.case = replace(CASE, grid=replace(CASE.grid, collected=300))
    assert sum(Anatomy(few).atlas.moments.origin.examples.values()) == 300
    assert sum(anatomy.atlas.moments.origin.examples.values()) == len(subject.given)


def test_spectra_add_up(anatomy):
    found = spectra(anatomy)
    assert len(found) == 3
    for site in found:
        assert site["complement_ones"] == site["dimensions"] - site["rank"]
        assert site["complement_rounding"] < 1e-2
        assert len(site["mu"]) == 10
        assert site["mu"][0] == sorted(site["mu"][0], reverse=True)
        assert 0.0 < site["overlap_mean"] < 1.0
    halves = torch.stack([torch.diag(torch.tensor([1.0, 0.0])), torch.diag(torch.tensor([0.0, 1.0]))])
    torch.testing.assert_close(overlaps(halves), torch.eye(2))


def test_the_class_atlas_knows_every_class(subject):
    assert set(class_atlas(subject.original, subject.train).concepts) == set(map(str, range(10)))
