"""ROUGE: how much of the true answer a model's own holds."""

from __future__ import annotations

from collections.abc import Sequence

from mnemotomy.core.errors import DataError


def rouge(generated: Sequence[str], answers: Sequence[str]) -> dict[str, list[float]]:
    """``rouge1_recall``, ``rougeL_f1`` and ``rougeL_recall`` of each answer, each in [0, 1] (Lin 2004).

    Words are stemmed, as in OpenUnlearning; the score that it reports is ``rougeL_recall``.

    Raises:
        DataError: the numbers of texts differ, or rouge-score is not installed.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]
    except ImportError as error:
        raise DataError("ROUGE comes with rouge-score: pip install 'mnemotomy[tofu]'") from error
    if len(generated) != len(answers):
        raise DataError(f"{len(generated)} generated answers came with {len(answers)} true ones; give one for each")
    scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
    scores = [scorer.score(answer, text) for text, answer in zip(generated, answers, strict=True)]
    return {
        "rouge1_recall": [float(score["rouge1"].recall) for score in scores],
        "rougeL_f1": [float(score["rougeL"].fmeasure) for score in scores],
        "rougeL_recall": [float(score["rougeL"].recall) for score in scores],
    }
