"""Metrics of unlearning in vision, against brute force, against scikit-learn and on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import randn
from torch import Tensor

from mnemotomy.core.errors import DataError
from mnemotomy.metrics.clustering import clustering_nmi, forget_retain_nmi
from mnemotomy.metrics.dimensional_alignment import dimensional_alignment
from mnemotomy.metrics.membership import loss_auc, privacy_score
from mnemotomy_bench.metrics.membership import membership_accuracy, membership_efficacy
from mnemotomy_bench.metrics.reconstruction import class_reconstruction_errors
from mnemotomy_bench.metrics.similarity import linear_cka
from mnemotomy_bench.metrics.tug_of_war import Accuracies, tug_of_war

pytest.importorskip("sklearn")


def rotation(width: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(randn(width, width, seed=seed)).Q


# tug of war


def test_tug_of_war_is_the_product_of_what_is_left_of_the_gaps():
    retrained, unlearned = Accuracies(0.0, 0.99, 0.85), Accuracies(0.1, 0.95, 0.9)
    assert tug_of_war(unlearned, retrained) == pytest.approx(0.9 * 0.96 * 0.95)
    assert tug_of_war(retrained, unlearned) == pytest.approx(0.9 * 0.96 * 0.95)
    assert tug_of_war(retrained, retrained) == 1.0
    assert tug_of_war(Accuracies(1.0, 0.99, 0.85), retrained) == 0.0


@pytest.mark.parametrize("value", [95.2, -0.1, float("nan")])
def test_accuracies_are_shares(value: float):
    with pytest.raises(DataError, match="divide percentages"):
        Accuracies(0.0, value, 0.5)


# dimensional alignment


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("dimensions", [1, 3, 8])
def test_alignment_is_the_energy_in_the_leading_singular_vectors(dimensions: int, centred: bool):
    forget, retain = randn(20, 8, seed=1), randn(50, 8, seed=2) @ randn(8, 8, seed=3) + 1
    f, r = forget.double().numpy(), retain.double().numpy()
    if centred:
        f, r = f - r.mean(0), r - r.mean(0)
    basis = np.linalg.svd(r, full_matrices=False)[2][:dimensions]
    expected = sum(np.linalg.norm(basis @ row) ** 2 for row in f) / sum(np.linalg.norm(row) ** 2 for row in f)
    assert dimensional_alignment(forget, retain, dimensions=dimensions, centred=centred) == pytest.approx(expected)


def test_alignment_of_the_same_and_of_orthogonal_spaces():
    basis = rotation(10)
    inside, outside = randn(30, 4) @ basis[:4], randn(30, 4, seed=1) @ basis[6:]
    assert dimensional_alignment(inside, inside, explained=1.0) == pytest.approx(1.0)
    assert dimensional_alignment(outside, inside) == pytest.approx(0.0, abs=1e-6)
    assert dimensional_alignment(outside + inside, inside, dimensions=4) == pytest.approx(
        float(inside.square().sum() / (inside + outside).square().sum()), abs=0.05
    )


def test_the_subspace_holds_the_energy_asked_for():
    retain = torch.diag(torch.tensor([60.0, 30.0, 9.0, 1.0]).sqrt())
    forget = torch.eye(4)
    for explained, dimensions in [(0.5, 1), (0.6, 1), (0.61, 2), (0.95, 3), (1.0, 4)]:
        assert dimensional_alignment(forget, retain, explained=explained) == pytest.approx(dimensions / 4)


def test_alignment_is_the_same_for_images_of_features():
    forget, retain = randn(5, 2, 3, 3), randn(9, 2, 3, 3, seed=1)
    assert dimensional_alignment(forget, retain) == dimensional_alignment(forget.flatten(1), retain.flatten(1))


@pytest.mark.parametrize(
    ("forget", "arguments", "message"),
    [
        (torch.ones(3, 5), {}, "width 5 and 4"),
        (torch.ones(0, 4), {}, "missing"),
        (torch.full((3, 4), torch.nan), {}, "NaN"),
        (torch.ones(3, 4), {"dimensions": 5}, "1 to 4"),
        (torch.ones(3, 4), {"explained": 0.0}, "share of the energy"),
    ],
)
def test_what_cannot_be_aligned(forget: Tensor, arguments: dict, message: str):
    with pytest.raises(DataError, match=message):
        dimensional_alignment(forget, randn(6, 4), **arguments)


# normalized mutual information


def information(labels: list[int], clusters: list[int]) -> float:
    """NMI from its definition."""
    count = len(labels)

    def entropy(values: list) -> float:
        shares = np.array([values.count(value) for value in set(values)]) / count
        return float(-(shares * np.log(shares)).sum())

    joint = entropy(list(zip(labels, clusters, strict=True)))
    mutual = entropy(labels) + entropy(clusters) - joint
    return mutual / ((entropy(labels) + entropy(clusters)) / 2)


def test_nmi_is_that_of_the_clusters_on_a_line():
    """Three clusters far apart; the labels divide the middle one."""
    clusters = [0] * 6 + [1] * 6 + [2] * 8
    labels = torch.tensor([0] * 6 + [0, 0, 1, 1, 1, 1] + [1] * 8)
    features = torch.tensor(clusters)[:, None] * 100.0 + 0.01 * randn(20, 1)
    assert clustering_nmi(features, labels, 3) == pytest.approx(information(labels.tolist(), clusters))


def test_forget_and_retain_apart_and_mixed():
    rows = randn(400, 5)
    assert forget_retain_nmi(rows[:100] + 20, rows[100:]) == pytest.approx(1.0)
    assert forget_retain_nmi(rows[:100] + 20, rows[100:], balanced=False) == pytest.approx(1.0)
    assert forget_retain_nmi(rows[:100], rows[100:]) < 0.05


def test_balancing_takes_as_many_of_both():
    """A third of what is kept lies with all that is forgotten: of 90 and 90 rows, 120 lie together."""
    retain = torch.cat([torch.zeros(300, 1), torch.full((600, 1), 9.0)]) + 0.01 * randn(900, 1)
    found = forget_retain_nmi(0.01 * randn(90, 1, seed=1), retain)
    expected = information([0] * 90 + [1] * 90, [0] * 120 + [1] * 60)
    assert found == pytest.approx(expected, abs=0.1)
    assert found == forget_retain_nmi(0.01 * randn(90, 1, seed=1), retain)
    assert found > forget_retain_nmi(0.01 * randn(90, 1, seed=1), retain, balanced=False) + 0.1


def test_collapsed_features_tell_nothing():
    assert forget_retain_nmi(torch.ones(10, 3), torch.ones(20, 3)) == 0.0


def test_what_cannot_be_clustered():
    with pytest.raises(DataError, match="came with 2 labels"):
        clustering_nmi(randn(3, 2), torch.zeros(2, dtype=torch.long), 2)
    with pytest.raises(DataError, match="1 to 3 clusters"):
        clustering_nmi(randn(3, 2), torch.zeros(3, dtype=torch.long), 4)
    with pytest.raises(DataError, match="NaN"):
        clustering_nmi(torch.full((3, 2), torch.nan), torch.zeros(3, dtype=torch.long), 2)


# linear CKA


def published_cka(x: Tensor, y: Tensor) -> float:
    """By the definition of Kornblith et al. 2019: HSIC with the centring matrix written out."""
    n = len(x)
    x, y = x.double().flatten(1), y.double().flatten(1)
    centring = torch.eye(n, dtype=torch.float64) - 1 / n

    def hsic(K: Tensor, L: Tensor) -> Tensor:
        return torch.trace(K @ centring @ L @ centring) / (n - 1) ** 2

    K, L = x @ x.mT, y @ y.mT
    return float(hsic(K, L) / (hsic(K, K) * hsic(L, L)).sqrt())


@pytest.mark.parametrize(("n", "a", "b"), [(30, 5, 7), (8, 20, 3), (8, 3, 20), (6, 40, 40)])
def test_cka_is_the_published_one(n: int, a: int, b: int):
    x = randn(n, a) + 2
    y = randn(n, b, seed=1) + x[:, :1]
    assert linear_cka(x, y) == pytest.approx(published_cka(x, y))


def test_cka_is_unchanged_by_rotation_and_scale():
    x, y = randn(40, 6), randn(40, 6, seed=1)
    assert linear_cka(x, x) == pytest.approx(1.0)
    assert linear_cka(x, 3 * x @ rotation(6) + 5) == pytest.approx(1.0)
    assert linear_cka(x, y @ rotation(6)) == pytest.approx(linear_cka(x, y))


@pytest.mark.parametrize("width", [2, 50])
def test_a_constant_representation_is_like_no_other(width: int):
    constant = 0.1 + 1e-9 * randn(40, width, seed=1)
    assert linear_cka(randn(40, 6), constant) == 0.0


def test_what_cannot_be_compared():
    with pytest.raises(DataError, match="same examples"):
        linear_cka(randn(3, 2), randn(4, 2))
    with pytest.raises(DataError, match="at least 2"):
        linear_cka(randn(1, 2), randn(1, 2))
    with pytest.raises(DataError, match="NaN"):
        linear_cka(torch.full((3, 2), torch.nan), randn(3, 2))


# membership inference


def test_the_attack_is_scikit_learns():
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    forget, unseen = randn(50, 3), randn(50, 3, seed=1) + 0.8
    rows, labels = torch.cat([forget, unseen]).double().numpy(), np.array([1] * 50 + [0] * 50)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    found = cross_val_predict(make_pipeline(StandardScaler(), LogisticRegression()), rows, labels, cv=folds)
    assert membership_accuracy(forget, unseen) == pytest.approx((found == labels).mean())


def test_membership_is_read_where_there_is_some():
    losses = randn(2000)
    assert membership_accuracy(losses[:600], losses[600:] + 100) == 1.0
    assert membership_accuracy(losses[:600], losses[600:]) == pytest.approx(0.5, abs=0.06)
    assert membership_accuracy(losses[:600], losses[600:]) == membership_accuracy(losses[:600], losses[600:])


def test_efficacy_is_the_share_taken_for_unseen():
    """Members have losses around 0, others around 10: the boundary lies between, however many there are of each."""
    members, others = 0.1 * randn(900), 10 + 0.1 * randn(100, seed=1)
    forget = torch.tensor([0.0, 1.0, 2.0, 8.0, 9.0])
    assert membership_efficacy(members, others, forget) == pytest.approx(0.4)
    assert membership_efficacy(members, others, torch.zeros(7)) == 0.0


def test_the_loss_attack_counts_pairs():
    forget, unseen = randn(30), randn(40, seed=1) + 0.5
    pairs = [(float(a), float(b)) for a in forget for b in unseen]
    auc = sum((a < b) + 0.5 * (a == b) for a, b in pairs) / len(pairs)
    assert loss_auc(forget, unseen) == pytest.approx(auc)
    assert privacy_score(auc) == pytest.approx(1 - 2 * abs(auc - 0.5))
    assert privacy_score(0.5) == 1.0
    assert privacy_score(0.0) == privacy_score(1.0) == 0.0


def test_what_cannot_be_attacked():
    with pytest.raises(DataError, match="at least 5"):
        membership_accuracy(randn(4), randn(20))
    with pytest.raises(DataError, match="NaN or infinite"):
        membership_accuracy(torch.full((9,), torch.inf), randn(9))
    with pytest.raises(DataError, match="one is empty"):
        loss_auc(randn(0), randn(3))
    with pytest.raises(DataError, match="width 2 and 1"):
        membership_efficacy(randn(9), randn(9), randn(9, 2))
    with pytest.raises(DataError, match="one loss per example"):
        loss_auc(randn(9, 2), randn(9, 2))


# reconstruction


def test_reconstruction_errors_are_numpys():
    images, reconstructed = randn(12, 1, 5, 5), randn(12, 1, 5, 5, seed=1)
    labels = torch.tensor([0, 0, 1, 3] * 3)
    found = class_reconstruction_errors(reconstructed, images, labels, 4)
    for digit in (0, 1, 3):
        chosen = (labels == digit).numpy()
        assert float(found[digit]) == pytest.approx(
            np.mean((reconstructed.numpy()[chosen] - images.numpy()[chosen]) ** 2)
        )
    assert bool(found[2].isnan())


def test_what_cannot_be_reconstructed():
    with pytest.raises(DataError, match="came with reconstructions"):
        class_reconstruction_errors(randn(3, 4), randn(3, 5), torch.zeros(3, dtype=torch.long), 2)
    with pytest.raises(DataError, match="label 2"):
        class_reconstruction_errors(randn(3, 4), randn(3, 4), torch.tensor([0, 1, 2]), 2)
