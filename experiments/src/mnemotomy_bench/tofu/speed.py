"""The evaluation of one model from one observation, against a separate pass or generation for each metric."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from mnemotomy.core.errors import TrainingError
from mnemotomy.core.models import load_model, load_tokenizer, quiet_transformers
from mnemotomy.core.modules import observing
from mnemotomy.core.version import versions
from mnemotomy.evaluation.evaluating import evaluation_of
from mnemotomy.metrics.membership import loss_auc
from mnemotomy.metrics.tofu.aggregates import PARTS, model_utility
from mnemotomy.metrics.tofu.answers import (
    ATTACKS,
    exact_memorization,
    extraction_strength,
    forget_truth_ratio,
    normalised_probability,
    probability,
    retain_truth_ratio,
    truth_ratio,
)
from mnemotomy.metrics.tofu.evaluation import summary
from mnemotomy.metrics.tofu.rouge import rouge
from mnemotomy.observe.answers import AnswerObservations
from mnemotomy.observe.questions import Asking, Observed
from mnemotomy.observe.splits import HOLDOUT, Splits
from mnemotomy.text.batches import padded
from mnemotomy.text.encoding import IGNORED, encode_answer
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import has_chat_template, prompt_of
from mnemotomy.text.tokenizing import encode_prompt
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.lab.resources import single_threaded
from mnemotomy_bench.tofu.texts import Texts

TOLERANCE = 2e-3
"""Between the two: padding and summation order change a logit's last digits, and so sometimes the top token."""


def run_evaluation_speed(
    model: str | Path, texts: Texts, *, questions: int | None = 100, asking: Asking | None = None, repeats: int = 1
) -> Record:
    """Seconds of both, their ratio, and the largest difference in an aggregate.

    The comparison computes the same metrics as evaluators with one function per metric do: each forwards
    the rows that it needs in batches of the same size, in the order of the file and padded, takes the log-softmax over
    the vocabulary, and each ROUGE lets the model write anew.

    Args:
        model: a folder or hub id.
        texts: the data.
        questions: of each split; None for all.
        asking: of both: batches of that size, four times as large only where the one evaluation writes answers.
        repeats: medians are reported.

    Raises:
        TrainingError: an aggregate differs by more than ``TOLERANCE``.
    """
    with quiet_transformers():
        observed = Observed(load_model(model), load_tokenizer(model))
    splits = {name: tuple(some)[:questions] for name, some in texts.evaluation.items()}
    asking = asking or Asking()
    ways: dict[str, Callable[[], dict[str, float]]] = {
        "once": lambda: summary(evaluation_of(observed, splits, asking)),
        "per_metric": lambda: metric_by_metric(observed, splits, asking),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, dict[str, float]] = {}
    with single_threaded():
        for _ in range(repeats):
            for name, call in ways.items():
                start = time.perf_counter()
                found[name] = call()
                seconds[name].append(time.perf_counter() - start)
    once, apart = found["once"], found["per_metric"]
    if once.keys() != apart.keys():
        raise TrainingError(f"the two evaluations differ in {', '.join(sorted(once.keys() ^ apart.keys()))}")
    differences = {name: abs(value - apart[name]) for name, value in once.items()}
    worst = max(differences, key=lambda name: differences[name])
    if differences[worst] > TOLERANCE:
        raise TrainingError(f"{worst} differs by {differences[worst]:.2g} between the two evaluations")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "seconds": medians,
        "ratio": medians["per_metric"] / medians["once"],
        "largest_difference": differences[worst],
        "questions": {name: len(some) for name, some in splits.items()},
        "batch_size": asking.batch_size,
        "max_new_tokens": asking.max_new_tokens,
        "repeats": repeats,
        "versions": versions(),
    }


def metric_by_metric(observed: Observed, splits: Splits, asking: Asking) -> dict[str, float]:
    """The aggregate of every metric, each from separate passes over only the rows that it needs.

    Model Utility reuses its nine parts.
    """

    def answers(split: str, part: str = "answer") -> AnswerObservations:
        return _forward(observed, _rows(splits[split], part), asking)

    found = {
        "exact_memorization": float(exact_memorization(answers("forget")).mean()),
        "extraction_strength": float(extraction_strength(answers("forget")).mean()),
    }
    for name, attack in ATTACKS.items():
        found[name] = loss_auc(attack(answers("forget")), attack(answers(HOLDOUT)))
    for split, questions in splits.items():
        if split == HOLDOUT:
            continue
        options = questions[0].paraphrased_answer is None
        found[f"{split}_Q_A_Prob"] = float(probability(answers(split)).mean())
        found[f"{split}_Q_A_PERT_Prob"] = float(probability(answers(split, "perturbed")).mean())
        ratios = truth_ratio(answers(split, "answer" if options else "paraphrased"), answers(split, "perturbed"))
        if split == "forget":
            found["forget_truth_ratio"] = forget_truth_ratio(ratios)
        else:
            found[f"{split}_Truth_Ratio"] = retain_truth_ratio(ratios)
        if options:
            shares = normalised_probability(answers(split), answers(split, "perturbed"))
            found[f"{split}_Q_A_Prob_normalised"] = float(shares.mean())
        else:
            found[f"{split}_Q_A_PARA_Prob"] = float(probability(answers(split, "paraphrased")).mean())
        recall = rouge(_generate(observed, questions, asking), [one.answer for one in questions])["rougeL_recall"]
        found[f"{split}_Q_A_ROUGE"] = sum(recall) / len(recall)
    found["model_utility"] = model_utility({part: found[part] for part in PARTS})
    return dict(sorted(found.items()))


def _rows(questions: Sequence[TextExample], part: str) -> list[tuple[str, str]]:
    if part == "perturbed":
        return [(one.question, false) for one in questions for false in one.perturbed_answers]
    return [(one.question, str(one.answer if part == "answer" else one.paraphrased_answer)) for one in questions]


def _forward(observed: Observed, rows: Sequence[tuple[str, str]], asking: Asking) -> AnswerObservations:
    """Batches in the order of the rows, padded on the right; the logits of all positions."""
    model, tokenizer = observed.model, observed.tokenizer
    encoded = [encode_answer(tokenizer, *row, asking.template) for row in rows]
    parts: list[Tensor] = []
    with observing(model):
        for start in range(0, len(encoded), asking.batch_size):
            filled = padded(encoded[start : start + asking.batch_size], tokenizer)
            labels = filled.pop("labels")
            logs = model(**filled, use_cache=False).logits[:, :-1].log_softmax(dim=-1)
            for row, wanted in zip(logs, labels[:, 1:], strict=True):
                own = row[wanted != IGNORED]
                targets = wanted[wanted != IGNORED]
                mean = (own.exp() * own).sum(dim=-1)
                deviation = ((own.exp() * own.square()).sum(dim=-1) - mean.square()).clamp(min=0.0).sqrt()
                hit = (own.argmax(dim=-1) == targets).float()
                parts.append(torch.stack([own.gather(1, targets[:, None])[:, 0], hit, mean, deviation]))
    return AnswerObservations.of(encoded, torch.cat(parts, dim=1), tokenizer)


def _generate(observed: Observed, questions: Sequence[TextExample], asking: Asking) -> list[str]:
    """transformers' own generation, in the order of the questions."""
    from transformers import GenerationConfig

    model, tokenizer = observed.model, observed.tokenizer
    chat = has_chat_template(tokenizer)
    prompts = [
        encode_prompt(tokenizer, prompt_of(tokenizer, one.question, asking.template), special_tokens=not chat)
        for one in questions
    ]
    config = GenerationConfig(
        max_new_tokens=asking.max_new_tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    texts: list[str] = []
    with observing(model), quiet_transformers():
        for start in range(0, len(prompts), asking.batch_size):
            batch = prompts[start : start + asking.batch_size]
            longest = max(map(len, batch))
            ids = torch.tensor([[tokenizer.pad_token_id] * (longest - len(one)) + one for one in batch])
            mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in batch])
            written = cast(Any, model).generate(input_ids=ids, attention_mask=mask, generation_config=config)
            texts += [text.strip() for text in tokenizer.batch_decode(written[:, longest:], skip_special_tokens=True)]
    return texts
