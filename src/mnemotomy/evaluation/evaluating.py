"""The evaluation of one model: observed once, all metrics, never again for the same weights and data."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnemotomy.core.cells import json_cells
from mnemotomy.core.errors import ArtifactError, DataError
from mnemotomy.core.files import write_text
from mnemotomy.core.fingerprints import fingerprint, tokenizer_digest
from mnemotomy.core.json_text import read_json
from mnemotomy.core.keys import key
from mnemotomy.core.models import check_language_model, load_model, load_tokenizer, quiet_transformers
from mnemotomy.metrics.tofu.aggregates import FLUENCY, PARTS, PERPLEXITY, base_perplexity, classified_fluency
from mnemotomy.metrics.tofu.answers import ATTACKS
from mnemotomy.metrics.tofu.evaluation import Evaluation, evaluate, summary
from mnemotomy.metrics.tofu.rouge import Words
from mnemotomy.observe.fluency import load_classifier, losses_under, probability_clean
from mnemotomy.observe.questions import Asking, Observed
from mnemotomy.observe.splits import Splits, asked, observe_splits, observing_versions, splits_digest

OBSERVATIONS, EVALUATIONS = "observations", "evaluations"
EVALUATION, SUMMARY = "TOFU_EVAL.json", "TOFU_SUMMARY.json"


@dataclass(frozen=True)
class Fluency:
    """What judges the fluency of answers: a classifier if given, else a base model, else nothing.

    Attributes:
        classifier: a folder or hub id of a classifier of gibberish.
        base: a folder or hub id of a causal language model.
    """

    classifier: str | None = None
    base: str | None = None

    def rated(self, evaluation: Evaluation) -> Evaluation:
        """The evaluation with ``forget_fluency`` or ``forget_perplexity_base``, if the model wrote answers.

        Raises:
            ModelError: the classifier or the base model cannot be loaded.
        """
        texts = [row["generation"] for row in evaluation.get("forget_Q_A_ROUGE", {}).get("value_by_index", {}).values()]
        with quiet_transformers():
            if texts and self.classifier is not None:
                return evaluation | {FLUENCY: classified_fluency(probability_clean(self.classifier, texts))}
            if texts and self.base is not None:
                losses = losses_under(load_model(self.base), load_tokenizer(self.base), texts)
                return evaluation | {PERPLEXITY: base_perplexity(losses)}
            return evaluation

    def digest(self) -> Sequence[str]:
        """The identity of the judge: its kind, and the fingerprints of model and tokenizer.

        Raises:
            ModelError: the classifier or the base model cannot be loaded, or is another kind of model.
        """
        return _judge_digest(self)


@functools.lru_cache(maxsize=8)
def _judge_digest(judge: Fluency) -> tuple[str, ...]:
    with quiet_transformers():
        if judge.classifier is not None:
            model, tokenizer = load_classifier(judge.classifier)
        elif judge.base is not None:
            model, tokenizer = load_model(judge.base), load_tokenizer(judge.base)
            check_language_model(model, tokenizer)
        else:
            return ()
    kind = "base" if judge.classifier is None else "classifier"
    return kind, fingerprint(model), tokenizer_digest(tokenizer)


def evaluation_of(
    observed: Observed,
    splits: Splits,
    asking: Asking | None = None,
    *,
    fluency: Fluency | None = None,
    words: Words = "ascii",
    folder: Path | None = None,
) -> Evaluation:
    """Every metric that the splits allow; forget quality and rescaled scores need a second model's evaluation.

    Args:
        splits: as ``tofu_splits`` gives them; a metric whose data are missing is left out.
        fluency: what judges its answers.
        folder: of observations and evaluations, which are reused. Without one nothing is kept.

    Raises:
        DataError, ModelError, NonFiniteError, ArtifactError: as ``observe_splits`` and ``evaluate``.
    """
    asking, fluency = asking or Asking(), fluency or Fluency()
    judged_by = fluency.digest()  # before anything is observed
    if folder is None:
        return fluency.rated(evaluate(observe_splits(observed, splits, asking), words=words))
    how = [*asked(observed, asking), judged_by, *([] if words == "ascii" else [words])]
    name = key("sealed", observed.fingerprint, splits_digest(splits), *how, observing_versions())

    def run() -> Evaluation:
        found = fluency.rated(evaluate(observe_splits(observed, splits, asking, folder / OBSERVATIONS), words=words))
        return dict(sorted(found.items()))

    return json_cells(folder / EVALUATIONS).kept(name, run)


def earlier_evaluation(path: str | Path, questions: int) -> Evaluation:
    """A model's ``TOFU_EVAL.json``, ours or OpenUnlearning's, of a forget set with so many questions.

    Raises:
        ArtifactError: the file is missing or not an evaluation.
        DataError: it is of another forget set.
    """
    found = read_evaluation(path)
    for name in ("forget_truth_ratio", "forget_Q_A_Prob"):
        rows = found.get(name, {}).get("value_by_index")
        if rows is not None and len(rows) != questions:
            raise DataError(
                f"{path} is of {len(rows)} forgotten questions, but there are {questions} here; use one split"
            )
    return found


def left_out(evaluation: Mapping[str, Any], splits: Splits) -> dict[str, str]:
    """The metrics of TOFU that this evaluation lacks, each with what it needs."""
    needs = {
        "forget_Q_A_ROUGE": "answers that the model writes; give --max-new-tokens above 0",
        "forget_Q_A_PARA_Prob": "a 'paraphrased_answer' on each line of the forget set",
        "forget_truth_ratio": "'perturbed_answer' on each line of the forget set",
        **dict.fromkeys(ATTACKS, "a holdout set: questions like the forget set's, which no model has seen"),
    }
    lacking = [part for part in PARTS if part not in evaluation]
    if lacking:
        needs["model_utility"] = f"the parts {', '.join(lacking)}"
    return {name: f"needs {what}" for name, what in needs.items() if name not in evaluation and "forget" in splits}


def write_evaluation(folder: str | Path, evaluation: Mapping[str, Mapping[str, Any]]) -> None:
    """Write OpenUnlearning's files: ``TOFU_EVAL.json`` with every row, ``TOFU_SUMMARY.json`` with the aggregates."""
    write_text(Path(folder) / EVALUATION, json.dumps(dict(sorted(evaluation.items())), indent=4) + "\n")
    write_text(Path(folder) / SUMMARY, json.dumps(summary(evaluation), indent=4) + "\n")


def read_evaluation(path: str | Path) -> Evaluation:
    """Read ``TOFU_EVAL.json``, ours or OpenUnlearning's, from a file or its folder.

    Raises:
        ArtifactError: the file is missing or not an evaluation.
    """
    file = Path(path) / EVALUATION if Path(path).is_dir() else Path(path)
    try:
        found = read_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{file} does not exist; write it with write_evaluation") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file} is damaged: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
        raise ArtifactError(f"{file} is not an evaluation; an object of metrics was expected")
    for name, entry in found.items():
        value = entry.get("agg_value")
        if value is not None and (not isinstance(value, int | float) or not math.isfinite(value)):
            raise ArtifactError(f"{file}: the value of {name!r} is not a finite number")
    return found
