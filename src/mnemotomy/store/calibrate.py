"""The threshold of relevance at which a hit counts as an answer, calibrated on the store's own facts."""

from __future__ import annotations

import contextlib
import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

from mnemotomy.core.errors import DataError, StoreError
from mnemotomy.data.fact import Fact, name_of
from mnemotomy.store.retriever import Retriever

_NOTE = "threshold"
_SAMPLE, _PROMPTS, _DEPTH, _EQUAL = 1000, 4, 10, 0.01


@dataclass(frozen=True)
class Calibration:
    """A calibrated threshold of relevance.

    Attributes:
        threshold: the relevance at which a hit counts as an answer.
        facts: the size of the store when it was calibrated.
        found: the share of questions whose own fact reaches the threshold.
        mistaken: the share of questions for which a fact about another subject reaches it.
    """

    threshold: float
    facts: int
    found: float
    mistaken: float


def threshold(retriever: Retriever) -> float:
    """The store's threshold; calibrated if there is none yet, or if the size has more than doubled or halved.

    Raises:
        DataError: the store is empty.
    """
    noted, size = retriever.note(_NOTE), len(retriever)
    if noted is not None and noted["facts"] <= 2 * size and size <= 2 * noted["facts"]:
        return float(noted["threshold"])
    calibration = calibrate(retriever)
    with contextlib.suppress(StoreError):  # a read-only store is calibrated each time
        retriever.set_note(_NOTE, asdict(calibration))
    return calibration.threshold


def calibrate(retriever: Retriever, *, sample: int = _SAMPLE, seed: int = 0) -> Calibration:
    """Ask for known facts by their prompts, or by their subject if they have none.

    The fact itself should pass. The most relevant fact about any other subject should not: it is the answer that
    the question would get if its own subject were not in the store.

    Args:
        retriever: the store.
        sample: the most facts to ask for, each with at most four prompts.

    Raises:
        DataError: the store is empty.
    """
    facts = retriever.sample(sample, seed)
    if not facts:
        raise DataError("an empty store has no threshold; add facts first")
    rng = random.Random(seed)
    pairs = []
    for fact in facts:
        prompts = fact.prompts or (fact.subject,)
        pairs += [_relevances(retriever, fact, query) for query in rng.sample(prompts, min(_PROMPTS, len(prompts)))]
    own, other = [first for first, _ in pairs], [second for _, second in pairs]
    best = separating(own, other)
    return Calibration(best, len(retriever), _reaching(sorted(own), best), _reaching(sorted(other), best))


def separating(wanted: Sequence[float], unwanted: Sequence[float]) -> float:
    """The threshold of the largest Youden's J, halfway down to the next value; above all values if no J is positive.

    Among thresholds within ``_EQUAL`` of the largest J, the one with the widest gap below it wins: the last hundredth
    of J would put the threshold just below 1, where a question in other words than the prompts would miss it.
    """
    positives, negatives = sorted(wanted), sorted(unwanted)
    values = sorted({*positives, *negatives})
    found = [
        (_reaching(positives, value) - _reaching(negatives, value), value - below, (below + value) / 2)
        for below, value in pairwise([values[0], *values])
    ]
    best = max(youden for youden, _, _ in found)
    if best <= 0:
        return values[-1] + 1
    return max((gap, middle) for youden, gap, middle in found if youden > 0 and youden >= best - _EQUAL)[1]


def _relevances(retriever: Retriever, fact: Fact, query: str) -> tuple[float, float]:
    hits = retriever.search(query, _DEPTH)
    name = name_of(fact.subject)
    own = [hit.relevance for hit in hits if name_of(hit.fact.subject) == name and hit.fact.relation == fact.relation]
    other = [hit.relevance for hit in hits if name_of(hit.fact.subject) != name]
    return max(own, default=0.0), max(other, default=0.0)


def _reaching(ordered: Sequence[float], value: float) -> float:
    return 1 - bisect_left(ordered, value) / len(ordered)
