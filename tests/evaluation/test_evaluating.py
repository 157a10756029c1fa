"""The evaluation of a model: kept by its weights and data, in either precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_tofu import observed

from mnemotomy.core.errors import ArtifactError, ConfigurationError
from mnemotomy.core.fingerprints import tokenizer_digest
from mnemotomy.core.models import load_tokenizer
from mnemotomy.evaluation.evaluating import evaluation_of
from mnemotomy.evaluation.texts import tofu_splits
from mnemotomy.metrics.tofu.evaluation import summary
from mnemotomy.observe import splits as splits_module
from mnemotomy.observe.questions import Asking, Observed
from mnemotomy.observe.splits import observe_splits

QUICK = Asking(max_new_tokens=6)


def test_the_same_weights_and_data_are_observed_once(pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    splits = tofu_splits(pair / "tofu", "forget10")
    first = evaluation_of(observed(pair), splits, QUICK, folder=tmp_path)
    again = observed(pair)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("observed again")

    monkeypatch.setattr(splits_module, "observe_questions", refuse)
    assert evaluation_of(again, splits, QUICK, folder=tmp_path) == first
    [cell] = (tmp_path / "evaluations").iterdir()
    whole = cell.read_text()
    cell.write_text(whole.replace("0.", "1.", 1))
    with pytest.raises(ArtifactError, match="damaged"):
        evaluation_of(again, splits, QUICK, folder=tmp_path)
    cell.write_text(whole)
    kept = observe_splits(again, splits, QUICK, tmp_path / "observations")
    assert kept["holdout"].generated is None
    assert kept["forget"].generated is not None
    with pytest.raises(AssertionError):
        evaluation_of(again, splits, Asking(max_new_tokens=5), folder=tmp_path)
    with torch.no_grad():
        next(again.model.parameters()).add_(1e-3)
    with pytest.raises(AssertionError):
        evaluation_of(Observed(again.model, again.tokenizer), splits, QUICK, folder=tmp_path)


def test_bfloat16_is_near_and_kept_apart(pair: Path, tmp_path: Path):
    splits, model = tofu_splits(pair / "tofu", "forget10"), observed(pair)
    exact = summary(evaluation_of(model, splits, QUICK, folder=tmp_path))
    coarse = summary(evaluation_of(model, splits, replace(QUICK, precision="bf16"), folder=tmp_path))
    assert exact != coarse
    assert coarse["forget_Q_A_Prob"] == pytest.approx(exact["forget_Q_A_Prob"], rel=0.05)
    assert coarse["exact_memorization"] == pytest.approx(exact["exact_memorization"], abs=0.05)
    assert summary(evaluation_of(model, splits, replace(QUICK, precision="no"), folder=tmp_path)) == exact
    with pytest.raises(ConfigurationError, match="precision is 'auto', 'no' or 'bf16'"):
        replace(QUICK, precision="half")


def test_tokenizers_are_told_apart(pair: Path):
    words = load_tokenizer(pair / "full")
    before = tokenizer_digest(words)
    words(["Rome", "Paris is"], padding=True, truncation=True, max_length=4)
    assert tokenizer_digest(words) == before == tokenizer_digest(load_tokenizer(pair / "retain90"))
    words.chat_template += " "
    assert tokenizer_digest(words) != before
