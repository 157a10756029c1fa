"""The whole evaluation of a model against OpenUnlearning's definitions, written out here from single forward passes."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rouge_score import rouge_scorer
from sklearn.metrics import roc_auc_score
from tiny_tofu import save_pair, save_tofu

from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.evaluation.evaluating import evaluation_of
from mnemotomy.evaluation.texts import tofu_splits
from mnemotomy.metrics.tofu.evaluation import summary
from mnemotomy.observe.questions import Asking, Observed
from mnemotomy.observe.splits import Splits

NEW_TOKENS = 5


@dataclass
class Row:
    """One answer, forwarded alone: its tokens and what the model says of the vocabulary at each."""

    text: str
    labels: list[int]
    logs: np.ndarray[Any, Any]

    @property
    def own(self) -> np.ndarray[Any, Any]:
        return self.logs[range(len(self.labels)), self.labels]

    @property
    def hits(self) -> list[bool]:
        """Without the end."""
        return [int(row.argmax()) == label for row, label in zip(self.logs[:-1], self.labels[:-1], strict=True)]

    @property
    def loss(self) -> float:
        return float(-self.own.mean())

    @property
    def probability(self) -> float:
        return math.exp(-self.loss)


class Model:
    """A model asked one thing at a time, by transformers alone."""

    def __init__(self, folder: Path) -> None:
        self.model, self.tokenizer = load_model(folder).eval(), load_tokenizer(folder)

    def ids(self, *turns: dict[str, str]) -> list[int]:
        return list(self.tokenizer.apply_chat_template(list(turns), tokenize=True, return_dict=False))

    @torch.no_grad()
    def row(self, question: str, answer: str) -> Row:
        asked = {"role": "user", "content": question}
        whole, start = self.ids(asked, {"role": "assistant", "content": answer}), len(self.ids(asked))
        logs = self.model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
        return Row(answer, whole[start:], logs[start - 1 : -1].numpy())

    def written(self, question: str) -> str:
        ids = torch.tensor([self.ids({"role": "user", "content": question})])
        mask = torch.ones_like(ids)
        found = self.model.generate(ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False)
        return str(self.tokenizer.decode(found[0, ids.shape[1] :], skip_special_tokens=True))


def extraction_strength(row: Row) -> float:
    length = len(row.hits)
    return next((1 - k / length for k in range(length) if all(row.hits[k:])), 1 / length)


def lowest(values: np.ndarray[Any, Any]) -> float:
    """Minus the mean of the lowest two fifths, the end left out."""
    some = np.sort(values[:-1])[: max(1, int(0.4 * (len(values) - 1)))]
    return float(-some.mean())


def standardised(row: Row) -> np.ndarray[Any, Any]:
    mean = (np.exp(row.logs) * row.logs).sum(-1)
    variance = (np.exp(row.logs) * row.logs**2).sum(-1) - mean**2
    return (row.own - mean) / np.maximum(np.sqrt(variance), 1e-3)


MEMBERSHIP = {
    "mia_loss": lambda row: row.loss,
    "mia_zlib": lambda row: row.loss / len(zlib.compress(row.text.encode())),
    "mia_min_k": lambda row: lowest(row.own),
    "mia_min_k_plus_plus": lambda row: lowest(standardised(row)),
}


def by_hand(model: Model, splits: Splits) -> dict[str, float]:
    """Every aggregate by its name."""
    forget = [model.row(one.question, one.answer) for one in splits["forget"]]
    unseen = [model.row(one.question, one.answer) for one in splits["holdout"]]
    found = {
        "exact_memorization": np.mean([np.mean(row.hits) for row in forget]),
        "extraction_strength": np.mean([extraction_strength(row) for row in forget]),
    }
    for name, reading in MEMBERSHIP.items():
        numbers = [reading(row) for row in (*forget, *unseen)]
        found[name] = roc_auc_score([0] * len(forget) + [1] * len(unseen), numbers)
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    for split in ("forget", "retain", "ra", "wf"):
        rouge, own, false, ratios, shares, paraphrased = [], [], [], [], [], []
        for one in splits[split]:
            rouge.append(scorer.score(one.answer, model.written(one.question))["rougeL"].recall)
            own.append(model.row(one.question, one.answer).probability)
            others = [model.row(one.question, other) for other in one.perturbed_answers]
            false += [other.probability for other in others]
            true = own[-1]
            if one.paraphrased_answer is not None:
                true = model.row(one.question, one.paraphrased_answer).probability
                paraphrased.append(true)
            shares.append(own[-1] / (own[-1] + sum(other.probability for other in others) + 1e-10))
            ratios.append(math.exp(-np.mean([other.loss for other in others])) / (true + 1e-10))
        found |= {
            f"{split}_Q_A_Prob": np.mean(own),
            f"{split}_Q_A_PERT_Prob": np.mean(false),
            f"{split}_Q_A_ROUGE": np.mean(rouge),
        }
        if split == "forget":
            found["forget_truth_ratio"] = np.mean([min(one, 1 / (one + 1e-10)) for one in ratios])
        else:
            found[f"{split}_Truth_Ratio"] = np.mean([max(0.0, 1 - one) for one in ratios])
        if paraphrased:
            found[f"{split}_Q_A_PARA_Prob"] = np.mean(paraphrased)
        else:
            found[f"{split}_Q_A_Prob_normalised"] = np.mean(shares)
    parts = [found[f"retain_{part}"] for part in ("Q_A_Prob", "Q_A_ROUGE", "Truth_Ratio")]
    for split in ("ra", "wf"):
        parts += [found[f"{split}_{part}"] for part in ("Q_A_Prob_normalised", "Q_A_ROUGE", "Truth_Ratio")]
    return {**found, "model_utility": len(parts) / sum(1 / max(part, 1e-10) for part in parts)}


@pytest.mark.parametrize("name", ["full", "retain90"])
def test_every_aggregate_is_what_its_definition_gives(tmp_path: Path, name: str):
    save_tofu(tmp_path / "tofu", count=4)
    save_pair(tmp_path, initializer_range=0.25)
    splits, model = tofu_splits(tmp_path / "tofu", "forget10"), Model(tmp_path / name)
    observed = Observed(load_model(tmp_path / name), load_tokenizer(tmp_path / name))
    found = summary(evaluation_of(observed, splits, Asking(max_new_tokens=NEW_TOKENS, batch_size=3)))
    assert found == pytest.approx(by_hand(model, splits), rel=1e-4, abs=1e-7)
    assert sum(0.0 < value < 1.0 for value in found.values()) > 20
