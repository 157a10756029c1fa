"""All metrics of one model on TOFU, in the structure of OpenUnlearning's ``TOFU_EVAL.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mnemotomy.core.errors import DataError
from mnemotomy.metrics.membership import loss_auc
from mnemotomy.metrics.tofu.aggregates import PARTS, forget_quality, model_utility
from mnemotomy.metrics.tofu.answers import (
    ATTACKS,
    average_loss,
    exact_memorization,
    extraction_strength,
    forget_truth_ratio,
    grouped,
    normalised_probability,
    retain_truth_ratio,
    truth_ratio,
)
from mnemotomy.metrics.tofu.rouge import Words, rouge
from mnemotomy.observe.answers import AnswerObservations
from mnemotomy.observe.questions import QuestionObservations

Evaluation = dict[str, dict[str, Any]]
"""By metric: ``agg_value``, and ``value_by_index`` with the numbers of each row, whose index is a string."""


def evaluate(
    splits: Mapping[str, QuestionObservations],
    *,
    retained: Mapping[str, Mapping[str, Any]] | None = None,
    words: Words = "ascii",
) -> Evaluation:
    """Every metric that the observed splits allow, by OpenUnlearning's names.

    Args:
        splits: ``forget`` with paraphrased and false answers; if there are any, also ``retain`` likewise, ``ra`` (real
            authors) and ``wf`` (world facts) with false ones, and ``holdout`` for membership inference.
        retained: the evaluation of the gold model, for forget quality.
        words: of ROUGE; ``unicode`` for texts that are not in English.

    Raises:
        DataError: there is no forget split, or a package of the extra ``tofu`` is missing.
    """
    if "forget" not in splits:
        raise DataError("an evaluation needs the forget split; observe it")
    found: Evaluation = {}
    for name, observed in splits.items():
        if name != "holdout":
            found |= _split(name, observed, words)
    answers = splits["forget"].answer
    found["exact_memorization"] = _scores(exact_memorization(answers))
    found["extraction_strength"] = _scores(extraction_strength(answers))
    if "holdout" in splits:
        found |= {name: _attack(name, answers, splits["holdout"].answer) for name in ATTACKS}
    if all(part in found for part in PARTS):
        found["model_utility"] = {"agg_value": model_utility({part: found[part]["agg_value"] for part in PARTS})}
    if retained is not None and "forget_truth_ratio" in found:
        ratios = [values_of(one, "forget_truth_ratio") for one in (found, retained)]
        found["forget_quality"] = {"agg_value": forget_quality(*ratios)}
    return dict(sorted(found.items()))


def values_of(evaluation: Mapping[str, Mapping[str, Any]], metric: str, part: str | None = None) -> Tensor:
    """The scores of a metric by row; for an attack, ``part`` is ``forget`` or ``holdout``.

    Raises:
        DataError: the evaluation lacks them.
    """
    try:
        entry = evaluation[metric] if part is None else evaluation[metric][part]
        rows = [row["score"] for row in entry["value_by_index"].values()]
        return torch.tensor(rows, dtype=torch.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"the evaluation has no scores of {metric!r}; evaluate that model again") from error


def summary(evaluation: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The aggregate of every metric, by name."""
    return {
        name: float(entry["agg_value"])
        for name, entry in sorted(evaluation.items())
        if entry.get("agg_value") is not None
    }


def _split(name: str, observed: QuestionObservations, words: Words) -> Evaluation:
    """The metrics of one split: probabilities, ROUGE if the model wrote answers, the truth ratio."""
    found = {f"{name}_Q_A_Prob": _probabilities(observed.answer, len(observed))}
    if observed.paraphrased is not None:
        found[f"{name}_Q_A_PARA_Prob"] = _probabilities(observed.paraphrased, len(observed))
    if observed.generated is not None:
        found[f"{name}_Q_A_ROUGE"] = _rouge(observed, observed.generated, words)
    if observed.perturbed is not None:
        found[f"{name}_Q_A_PERT_Prob"] = _probabilities(observed.perturbed, len(observed))
        true = observed.answer if observed.paraphrased is None else observed.paraphrased
        ratios = truth_ratio(true, observed.perturbed)
        if name == "forget":
            found["forget_truth_ratio"] = _scores(ratios, forget_truth_ratio(ratios))
        else:
            found[f"{name}_Truth_Ratio"] = _scores(ratios, retain_truth_ratio(ratios))
        if observed.paraphrased is None:  # options, not rephrased false answers
            shares = normalised_probability(observed.answer, observed.perturbed)
            found[f"{name}_Q_A_Prob_normalised"] = _entry({"prob": shares.tolist()}, float(shares.mean()))
    return found


def _probabilities(answers: AnswerObservations, questions: int) -> dict[str, Any]:
    """A row of the entry lists all answers of a question."""
    losses = average_loss(answers)
    values = (-losses).exp()  # ``probability``
    mean = float(values.mean())
    if len(answers) > questions:
        values, losses = grouped(values, questions), grouped(losses, questions)
    return _entry({"prob": values.tolist(), "avg_loss": losses.tolist()}, mean)


def _rouge(observed: QuestionObservations, generated: Sequence[str], words: Words) -> dict[str, Any]:
    answers = [one.answer for one in observed.questions]
    scores = rouge(generated, answers, words)
    texts = {
        "input": [one.question for one in observed.questions],
        "ground_truth": answers,
        "generation": list(generated),
    }
    recall = scores["rougeL_recall"]
    return _entry({**scores, **texts}, sum(recall) / len(recall)) | {"words": words}


def _attack(name: str, forget: AnswerObservations, holdout: AnswerObservations) -> dict[str, Any]:
    readings = {"forget": ATTACKS[name](forget), "holdout": ATTACKS[name](holdout)}
    auc = loss_auc(readings["forget"], readings["holdout"])
    return {**{part: _scores(values) for part, values in readings.items()}, "auc": auc, "agg_value": auc}


def _scores(values: Tensor, aggregate: float | None = None) -> dict[str, Any]:
    return _entry({"score": values.tolist()}, float(values.mean()) if aggregate is None else aggregate)


def _entry(columns: Mapping[str, Sequence[Any]], aggregate: float) -> dict[str, Any]:
    rows = zip(*columns.values(), strict=True)
    return {
        "agg_value": aggregate,
        "value_by_index": {str(index): dict(zip(columns, row, strict=True)) for index, row in enumerate(rows)},
    }
