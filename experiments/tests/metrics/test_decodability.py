"""Fresh probes against scikit-learn's own cross-validation, and on features whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import randn
from torch import Tensor

from mnemotomy.core.errors import DataError
from mnemotomy_bench.metrics.decodability import decodability, fresh_probe, without_phrasing

pytest.importorskip("sklearn")

CLASSES, PHRASINGS = 6, 4
LABELS = [f"country {i}" for _ in range(PHRASINGS) for i in range(CLASSES)]
GROUPS = [f"phrasing {j}" for j in range(PHRASINGS) for _ in range(CLASSES)]


def features(signal: float, width: int = 12) -> Tensor:
    """A direction per class, one per phrasing, and noise."""
    classes, phrasings = randn(CLASSES, width, seed=1), randn(PHRASINGS, width, seed=2)
    return (
        signal * classes.repeat(PHRASINGS, 1)
        + phrasings.repeat_interleave(CLASSES, 0)
        + randn(CLASSES * PHRASINGS, width, seed=3)
    )


@pytest.mark.parametrize("width", [12, 40])
def test_the_linear_probe_is_scikit_learns(width: int):
    """Width 40 is beyond the 18 rows of a training fold: the basis of their span changes nothing."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = features(0.7, width)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    predicted = cross_val_predict(pipeline, rows.double().numpy(), LABELS, groups=GROUPS, cv=LeaveOneGroupOut())
    expected = float(np.mean(predicted == np.array(LABELS)))
    found = fresh_probe(rows, LABELS, GROUPS)
    assert 1 / CLASSES < expected < 1.0
    assert found.accuracy == pytest.approx(expected)
    assert found.folds == PHRASINGS


@pytest.mark.parametrize("kind", ["linear", "two-layer"])
def test_what_is_there_is_read_and_what_is_not_is_not(kind: str):
    clear, nothing = fresh_probe(features(5.0), LABELS, GROUPS, kind=kind), fresh_probe(features(0.0), LABELS, GROUPS)
    assert clear.accuracy == 1.0
    assert clear.chance == nothing.chance == pytest.approx(1 / CLASSES)
    assert clear.shuffled < 0.5
    assert nothing.accuracy < 0.5


def test_a_probe_is_read_on_phrasings_it_has_not_seen():
    """Each row has a direction of its own, so that rows could be learned by heart; nothing carries over."""
    rows = torch.eye(len(LABELS))
    assert fresh_probe(rows, LABELS, GROUPS).accuracy <= 1 / CLASSES


def test_two_layers_read_what_a_plane_cannot():
    sides = torch.randint(0, 2, (200, 2))
    rows = 2.0 * sides - 1.0 + 0.1 * randn(200, 2)
    labels, groups = (sides[:, 0] ^ sides[:, 1]), torch.arange(200) % 8
    linear, two_layer = (fresh_probe(rows, labels, groups, kind=kind) for kind in ("linear", "two-layer"))
    assert linear.folds == 5
    assert linear.accuracy < 0.7
    assert two_layer.accuracy > 0.95


def test_the_control_may_be_left_with_one_label():
    for seed in range(20):
        found = fresh_probe(randn(4, 3), [0, 1, 0, 1], ["a", "a", "b", "b"], seed=seed)
        assert 0.0 <= found.shuffled <= 1.0


def test_chance_is_the_most_frequent_label():
    labels = [0, 0, 0, 1] * 5
    assert fresh_probe(randn(20, 3), labels, [i // 4 for i in range(20)]).chance == 0.75


def test_a_collapsed_state_reads_at_chance():
    rows = torch.full((len(LABELS), 5), 3.7) * (1 + 1e-8 * randn(len(LABELS), 5))
    assert fresh_probe(rows, LABELS, GROUPS).accuracy <= 1 / CLASSES


def test_every_layer_has_a_record():
    hidden = torch.stack([features(0.0), features(5.0)])
    records = decodability(hidden, LABELS, GROUPS)
    assert [record["layer"] for record in records] == [0, 1]
    for record, rows in zip(records, hidden, strict=True):
        linear = fresh_probe(rows, LABELS, GROUPS)
        assert record["linear"] == linear.accuracy
        assert record["shuffled"] == linear.shuffled
        assert record["chance"] == linear.chance
        assert record["two_layer"] == fresh_probe(rows, LABELS, GROUPS, kind="two-layer").accuracy
    assert decodability(hidden, LABELS, GROUPS) == records


@pytest.mark.parametrize(
    ("rows", "labels", "groups", "kind", "message"),
    [
        (randn(4, 2), [0, 1, 0], [0, 0, 1, 1], "linear", "4 rows"),
        (randn(4, 2), [0] * 4, [0, 0, 1, 1], "linear", "two labels"),
        (randn(4, 2), [0, 1, 0, 1], [0] * 4, "linear", "two phrasings"),
        (randn(4, 2), [0, 1, 0, 0], [0, 0, 1, 1], "linear", "only one label"),
        (randn(4, 2), [0, 1, 0, 1], [0, 0, 1, 1], "forest", "unknown kind"),
        (randn(4, 2) / 0, [0, 1, 0, 1], [0, 0, 1, 1], "linear", "infinite"),
    ],
)
def test_what_no_probe_can_read_is_refused(rows: Tensor, labels: list, groups: list, kind: str, message: str):
    with pytest.raises(DataError, match=message):
        fresh_probe(rows, labels, groups, kind=kind)


def test_what_differs_between_subjects_is_magnified():
    torch.manual_seed(0)
    identity = torch.randn(4, 12)
    phrasing = torch.randn(6, 12)
    labels = [subject for subject in range(4) for _ in range(6)]
    groups = [number for _ in range(4) for number in range(6)]
    states = phrasing[groups] + 1e-5 * identity[labels]
    plain = without_phrasing(states.double(), groups)
    assert float(plain.std()) == pytest.approx(1.0)
    torch.testing.assert_close(plain.reshape(4, 6, 12).mean(0), torch.zeros(6, 12, dtype=torch.float64))
    assert fresh_probe(plain, labels, groups).accuracy == 1.0


def test_a_linear_probe_reads_nothing_of_what_leace_erased():
    """LEACE leaves no linear classifier better than a constant one, and leaves what lies in the spread."""
    from concept_erasure import LeaceEraser

    labels, groups = [0, 1] * 200, [phrasing for phrasing in range(4) for _ in range(100)]
    classes = torch.tensor(labels)
    rows = randn(400, 5, seed=4) * (1.0 + 5.0 * classes[:, None]) + 3.0 * classes[:, None]
    erased = LeaceEraser.fit(rows.double(), classes.double(), shrinkage=False, constrain_cov_trace=False)(rows.double())
    assert fresh_probe(rows, labels, groups).accuracy > 0.7
    assert fresh_probe(erased, labels, groups).accuracy < 0.55
    assert fresh_probe(erased, labels, groups, kind="two-layer").accuracy > 0.9
