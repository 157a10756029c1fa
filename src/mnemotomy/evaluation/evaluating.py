"""The evaluation of one model: observed once, all metrics, and never again for the same weights and data."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnemotomy.core.fingerprints import fingerprint, tokenizer_digest
from mnemotomy.core.models import check_language_model, load_model, load_tokenizer, quiet_transformers
from mnemotomy.metrics.tofu.attacks import ATTACKS
from mnemotomy.metrics.tofu.evaluation import Evaluation, evaluate
from mnemotomy.metrics.tofu.fluency import FLUENCY, PERPLEXITY, base_perplexity, classified_fluency
from mnemotomy.metrics.tofu.model_utility import PARTS
from mnemotomy.metrics.tofu.summary import EVALUATION, read_evaluation, write_evaluation
from mnemotomy.observe.fluency import load_classifier, losses_under, probability_clean
from mnemotomy.observe.splits import Asking, Observed, Splits, asked, observe_splits, observing_versions, splits_digest

OBSERVATIONS, EVALUATIONS = "observations", "evaluations"


@dataclass(frozen=True)
class Fluency:
    """By what the answers' fluency is judged: a classifier where there is one, else a base model, else nothing.

    Attributes:
        classifier: a folder or hub id of a classifier of gibberish.
        base: a folder or hub id of a causal language model.
    """

    classifier: str | None = None
    base: str | None = None

    def rated(self, evaluation: Evaluation) -> Evaluation:
        """The evaluation with ``forget_fluency`` or ``forget_perplexity_base``, where answers were written.

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
        """What tells one judge from another: the kind, and the fingerprints of model and tokenizer.

        Raises:
            ModelError: the classifier or the base model cannot be loaded, or is of another kind.
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
    folder: Path | None = None,
) -> Evaluation:
    """Every metric that the splits allow; forget quality and rescaled scores need a second model's.

    Args:
        observed: the model.
        splits: as ``Texts.evaluation``; what metrics need and splits lack is left out.
        asking: how the model is asked.
        fluency: what judges its answers.
        folder: of observations and evaluations; what is there is not computed again. Nothing is kept without one.

    Raises:
        DataError, ModelError, NonFiniteError, ArtifactError: as ``observe_splits`` and ``evaluate``.
    """
    asking, fluency = asking or Asking(), fluency or Fluency()
    judged_by = fluency.digest()  # before anything is observed
    if folder is None:
        return fluency.rated(evaluate(observe_splits(observed, splits, asking)))
    identity = [observed.fingerprint, splits_digest(splits), *asked(observed, asking)]
    text = json.dumps([*identity, judged_by, observing_versions()], sort_keys=True)
    kept = folder / EVALUATIONS / hashlib.sha256(text.encode()).hexdigest()[:24]
    if (kept / EVALUATION).is_file():
        return read_evaluation(kept)
    found = fluency.rated(evaluate(observe_splits(observed, splits, asking, folder / OBSERVATIONS)))
    write_evaluation(kept, found)
    return found


def left_out(evaluation: Mapping[str, Any], splits: Splits) -> dict[str, str]:
    """The metrics that a TOFU folder would give and this evaluation lacks, each with what it needs."""
    needs = {
        "forget_Q_A_ROUGE": "answers that the model writes: give --max-new-tokens above 0",
        "forget_Q_A_PARA_Prob": "a 'paraphrased_answer' on each line of the forget set",
        "forget_truth_ratio": "'perturbed_answer' on each line of the forget set",
        **dict.fromkeys(ATTACKS, "a holdout set: questions like those to forget, which no model has seen"),
    }
    lacking = [part for part in PARTS if part not in evaluation]
    if lacking:
        needs["model_utility"] = f"the parts {', '.join(lacking)}"
    return {name: f"needs {what}" for name, what in needs.items() if name not in evaluation and "forget" in splits}
