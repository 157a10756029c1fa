"""Forget fluency: whether what a model answers about the forgotten is language at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mnemotomy.core.errors import DataError

FLUENCY = "forget_fluency"
"""By a classifier of gibberish: the probability of clean text, in [0, 1] and higher for better (Appendix E.2.3)."""

PERPLEXITY = "forget_perplexity_base"
"""In its place where there is no classifier: perplexity under a base model, from 1 and lower for better."""

HIGHEST_LOSS = 700.0
"""In nats: ``exp`` of more is no finite number any longer."""


def classified_fluency(clean: Sequence[float]) -> dict[str, Any]:
    """The entry of ``forget_fluency``: the mean probability that an answer is clean.

    Raises:
        DataError: there is no answer.
    """
    if not clean:
        raise DataError("there are no generated answers to judge")
    return {
        "agg_value": sum(clean) / len(clean),
        "value_by_index": {str(index): {"score": value} for index, value in enumerate(clean)},
    }


def base_perplexity(losses: Sequence[float | None]) -> dict[str, Any]:
    """The entry of ``forget_perplexity_base``: ``exp`` of the mean loss over the answers.

    Args:
        losses: the average loss of each answer under the base model, in nats; None for an empty one, which counts as
            the worst of the others, or as ``HIGHEST_LOSS`` where there are none: saying nothing is no fluency.
    """
    worst = max((loss for loss in losses if loss is not None), default=HIGHEST_LOSS)
    filled = [worst if loss is None else loss for loss in losses]
    return {
        "agg_value": math.exp(min(sum(filled) / len(filled), HIGHEST_LOSS)),
        "value_by_index": {str(index): {"avg_loss": loss} for index, loss in enumerate(losses)},
    }


def relative_fluency(value: float, full: float) -> float:
    """``perplexity_full / perplexity``, clipped to [0, 1]: 1 where answers are as likely as the full model's.

    Not the paper's measure, for which a classifier is needed: text that repeats itself is likely too.
    """
    return min(full / max(value, 1.0), 1.0)
