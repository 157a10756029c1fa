"""Attacks on a model that has forgotten: relearning, rounding of weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tiny_subject import MILD, save_bench, subject_in
from torch import nn

from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.models import load_model
from mnemotomy_bench.tofu import attacks
from mnemotomy_bench.tofu.attacks import Attacks, Relearning, attacked, relearn
from mnemotomy_bench.tofu.subject import Subject


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject_in(save_bench(tmp_path_factory.mktemp("attacks")))


def test_relearning_teaches_and_leaves_the_model(subject: Subject):
    before = subject.full.fingerprint
    taught = relearn(subject, subject.full.model, Relearning(2, 20, 1e-3), [0, 2])
    problem = subject.problem(0)
    shown = [problem.forget[place] for place in (0, 2)]

    def loss(model: nn.Module) -> float:
        from mnemotomy.methods.language.predictions import predict
        from mnemotomy.text.encoding import encode

        rows = [encode(one, problem.tokenizer, problem.template) for one in shown]
        return float(-predict(model, rows, problem.tokenizer).log_probabilities().mean().detach())

    assert loss(taught) < loss(subject.full.model)
    assert fingerprint(subject.full.model) == fingerprint(load_model(subject.pair.full))
    assert before == subject.full.fingerprint
    found = attacked(subject, subject.retain, MILD)
    assert found.keys() >= {"relearned_em", "bits8_memorization", "paraphrased_em_raw"}


@pytest.mark.parametrize("examples", [1, 3, 20])
def test_something_is_left_to_ask_after_relearning(subject: Subject, monkeypatch: pytest.MonkeyPatch, examples: int):
    taught: list[Any] = []
    monkeypatch.setattr(attacks, "relearn", lambda _s, model, _r, shown: taught.append(shown) or model)
    found = attacked(
        replace(subject, out=subject.out / str(examples)), subject.retain, Attacks(Relearning(examples), ())
    )
    assert taught[0] == {1: [0], 3: [0, 2], 20: [0, 2]}[examples]  # of four questions
    assert found["relearned_memorization"] == pytest.approx(1.0)
