"""Fluency of the answers: by a classifier, or by the perplexity under a base model."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
from tiny_language import save_classifier
from tiny_tofu import observed

from mnemotomy.core.errors import ModelError
from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.evaluation.evaluating import Fluency, evaluation_of
from mnemotomy.evaluation.texts import tofu_splits
from mnemotomy.metrics.tofu.aggregates import FLUENCY, PERPLEXITY, base_perplexity, relative_fluency
from mnemotomy.metrics.tofu.scores import scores
from mnemotomy.observe.fluency import losses_under, probability_clean
from mnemotomy.observe.questions import Asking

QUICK = Asking(max_new_tokens=6)


def test_fluency_by_a_classifier(pair: Path, tmp_path: Path):
    judge = save_classifier(tmp_path / "judge")
    texts = ["Paris is the capital", "", "Rome", "x"]
    found = probability_clean(judge, texts, batch_size=2)
    model, words = load_model(judge), load_tokenizer(judge)
    for text, value in zip(texts, found, strict=True):
        ids = torch.tensor([words(text)["input_ids"]])
        expected = model(ids).logits.softmax(-1)[0, 0].detach() if text else torch.tensor(0.0)
        assert value == pytest.approx(float(expected), abs=1e-6)
    with pytest.raises(ModelError, match="a class 'clean' is needed"):
        probability_clean(pair / "full", texts)
    splits = tofu_splits(pair / "tofu", "forget10")
    rated = evaluation_of(observed(pair), splits, QUICK, fluency=Fluency(str(judge)), folder=tmp_path)
    written = [row["generation"] for row in rated["forget_Q_A_ROUGE"]["value_by_index"].values()]
    assert rated[FLUENCY]["agg_value"] == pytest.approx(sum(probability_clean(judge, written)) / len(written))
    assert scores(rated, rated, rated).utility["ff"] == 1.0


def test_a_judge_is_told_by_its_weights_and_refused_before_anything_is_observed(pair: Path, tmp_path: Path):
    judge, splits = tmp_path / "judge", tofu_splits(pair / "tofu", "forget10")
    shutil.copytree(pair / "base", judge)
    first, alike = Fluency(base=str(judge)).digest(), Fluency(base=str(pair / "base")).digest()
    assert first == alike != ()
    assert Fluency().digest() == ()
    assert Fluency(base=str(pair / "retain90")).digest() != first
    wrong = Fluency(base=str(save_classifier(tmp_path / "classifier")))
    with pytest.raises(ModelError, match="take a causal language model"):
        evaluation_of(observed(pair), splits, QUICK, fluency=wrong, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fluency_under_a_base_model_is_named_as_what_it_is(pair: Path):
    model, words = load_model(pair / "base"), load_tokenizer(pair / "base")
    texts = ["Paris is the capital", "", "Rome"]
    found = losses_under(model, words, texts)
    assert found[1] is None
    ids = torch.tensor([[words.bos_token_id, *words(texts[0], add_special_tokens=False)["input_ids"]]])
    assert found[0] == pytest.approx(float(model(ids, labels=ids).loss.detach()), abs=1e-5)
    window, long = model.config.max_position_embeddings, "Paris is the capital " * 600
    tokens = [words.bos_token_id, *words(long, add_special_tokens=False)["input_ids"]]
    assert window < min(len(tokens), 512)
    ids = torch.tensor([tokens[:window]])
    expected = float(model(ids, labels=ids).loss.detach())
    assert losses_under(model, words, [long]) == [pytest.approx(expected, abs=1e-5)]
    words.bos_token = words.eos_token = None
    with pytest.raises(ModelError, match="no token after which a text can begin; set its bos_token"):
        losses_under(model, words, texts)
    entry = base_perplexity([1.0, None, 3.0])
    assert entry["agg_value"] == pytest.approx(math.exp(7 / 3))
    assert relative_fluency(20.0, 10.0) == 0.5
    assert relative_fluency(5.0, 10.0) == 1.0
    assert relative_fluency(base_perplexity([None])["agg_value"], 10.0) < 1e-300
    splits = tofu_splits(pair / "tofu", "forget10")
    rated = evaluation_of(observed(pair), splits, QUICK, fluency=Fluency(base=str(pair / "base")))
    assert FLUENCY not in rated
    assert scores(rated, rated, rated).utility.keys() == {"mu", "ff_perplexity"}
    assert rated[PERPLEXITY]["agg_value"] > 1.0
