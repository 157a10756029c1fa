"""Each model after an attack on its forgetting: relearning, quantisation, paraphrased questions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import nn

from mnemotomy.audit.weights import Teaching, quantised, taught
from mnemotomy.core.errors import NonFiniteError, TrainingError
from mnemotomy.core.keys import key
from mnemotomy.core.version import versions
from mnemotomy.evaluation.evaluating import evaluation_of
from mnemotomy.metrics.tofu.aggregates import harmonic_mean, rescaled_memorization
from mnemotomy.metrics.tofu.evaluation import summary
from mnemotomy.metrics.tofu.scores import MEMORIZATION
from mnemotomy.observe.questions import Observed
from mnemotomy.observe.splits import asked
from mnemotomy.text.encoding import encode
from mnemotomy.text.records import TextExample, Turn
from mnemotomy_bench.lab.cells import Record
from mnemotomy_bench.tofu.cells import kept
from mnemotomy_bench.tofu.subject import Subject

Attacked = tuple[nn.Module, Sequence[TextExample]]
BITS = (8, 4)


@dataclass(frozen=True)
class Relearning:
    """AdamW on the answers of a few forgotten examples, all in one batch; memorization is then read from the others.

    At the default rate, a model with millions of parameters has memorised these examples at the end.

    Attributes:
        examples: spread evenly over the forget set, so 20 give one for each author of forget10.
        steps: updates.
        learning_rate: of AdamW without weight decay.
    """

    examples: int = 20
    steps: int = 10
    learning_rate: float = 3e-4


@dataclass(frozen=True)
class Attacks:
    """Which attacks there are, and how strong they are."""

    relearning: Relearning = field(default_factory=Relearning)
    bits: tuple[int, ...] = BITS


def attacked(subject: Subject, observed: Observed, settings: Attacks | None = None) -> Record:
    """By attack, ``<attack>_memorization`` (the score of Table 6), ``_em`` (rescaled) and ``_em_raw``.

    The pair's models undergo the same attack, and scores are rescaled between them: what the gold model also shows
    after relearning is not a trace of the forget set. None if the attacked model's outputs are not finite.
    """
    record: Record = {}
    settings = settings or Attacks()
    full, retained = (summaries(subject, one, settings) for one in (subject.full, subject.retain))
    for name, found in summaries(subject, observed, settings).items():
        ends = (full[name], retained[name])
        parts: dict[str, float] = {}
        if all((found, *ends)):
            parts = {
                column: rescaled_memorization(found[metric], *(end[metric] for end in ends))
                for column, metric in MEMORIZATION.items()
            }
        record |= {
            f"{name}_memorization": harmonic_mean([1.0 - value for value in parts.values()]) if parts else None,
            f"{name}_em": parts.get("em"),
            f"{name}_em_raw": found.get("exact_memorization"),
        }
    return record


def summaries(subject: Subject, observed: Observed, settings: Attacks) -> dict[str, dict[str, float]]:
    """By attack, the aggregates on the forget set except those of written answers; empty if the model broke."""
    identity = {
        "model": observed.fingerprint,
        "texts": subject.texts.digest,
        "asked": asked(observed, replace(subject.asking, max_new_tokens=0)),
        "versions": versions(),
    }
    found = {}
    for name, (parameters, attack) in _attacks(subject, observed, settings).items():
        whole = identity | {"attack": name, "settings": parameters}
        run = functools.partial(_attacked_summary, subject, attack)
        found[name] = dict(kept(subject, "attacks", key(whole), run, {"identity": whole})["summary"])
    return found


def _attacks(subject: Subject, observed: Observed, settings: Attacks) -> dict[str, tuple[Any, Callable[[], Attacked]]]:
    """By name: the strength of the attack, and a function that gives the attacked model and its questions."""
    forget, model = subject.texts.evaluation["forget"], observed.model
    count = min(settings.relearning.examples, len(forget) // 2)
    shown = [place * len(forget) // count for place in range(count)]
    others = [one for place, one in enumerate(forget) if place not in shown]
    found: dict[str, tuple[Any, Callable[[], Attacked]]] = {}
    if shown:
        again = functools.partial(relearn, subject, model, settings.relearning, shown)
        found["relearned"] = (asdict(settings.relearning) | {"shown": shown}, lambda: (again(), others))
    for bits in settings.bits:
        found[f"bits{bits}"] = (bits, functools.partial(lambda bits: (quantised(model, bits), forget), bits))
    asked = [
        replace(one, turns=(Turn("user", one.paraphrased_question), one.turns[1]))
        for one in forget
        if one.paraphrased_question
    ]
    return found | ({"paraphrased": (None, lambda: (model, asked))} if asked else {})


def _attacked_summary(subject: Subject, attack: Callable[[], Attacked]) -> Record:
    try:
        model, questions = attack()
    except TrainingError:  # it broke under the attack
        return {"summary": {}}
    return {"summary": _summary(subject, model, questions)}


def _summary(subject: Subject, model: nn.Module, questions: Sequence[TextExample]) -> dict[str, float]:
    asking = replace(subject.asking, max_new_tokens=0)
    try:
        return summary(evaluation_of(Observed(model, subject.pair.tokenizer), {"forget": questions}, asking))
    except NonFiniteError:
        return {}


def relearn(subject: Subject, model: nn.Module, settings: Relearning, shown: Sequence[int]) -> nn.Module:
    """A copy fine-tuned on some of the forgotten examples, all in one batch."""
    examples = [one for place, one in enumerate(subject.texts.forgotten) if place in shown]
    tokenizer = subject.pair.tokenizer
    rows = [encode(one, tokenizer, subject.asking.template) for one in examples]
    return taught(model, rows, tokenizer, Teaching(settings.steps, settings.learning_rate))
