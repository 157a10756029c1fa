"""Whether answers are language, judged by a model that has shown on texts of known kind that it can tell."""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from mnemotomy.audit.attack import percent, register
from mnemotomy.audit.base import Case, Finding, Limit, Reading, Role
from mnemotomy.audit.cases import general_texts, texts_of
from mnemotomy.audit.damage import PAPER, Damage
from mnemotomy.audit.judging import words_of
from mnemotomy.audit.samples import side_by_side
from mnemotomy.audit.writing import greedy_answers, samples_of
from mnemotomy.core.modules import device_of
from mnemotomy.core.precision import autocast
from mnemotomy.core.scripts import UNSPACED, word_ends
from mnemotomy.observe.fluency import is_classifier, judge_digest, load_judge, losses_under, probability_clean

RIGHT = 0.8
"""The share of texts and of word salad that a judge must tell right, in every kind of text: small models of one subject
reach 0.6 to 0.75, SmolLM2-135M 0.9 and more."""

SLACK = 0.03
"""The limit is the middle of those that tell nearly as many right as the best, so that it hangs less on chance."""

UNJUDGED = "Answers neither empty nor circling (sense not judged)"

_UNJUDGED_UNIT = "share of answers neither empty nor circling"
_UNJUDGED_COUNTED = "neither empty nor circling", "empty or circling"

_FEW = 6  # words of a text, or texts of a kind
_REPEATED = 0.5  # the share of distinct pairs of words below which a text goes round in circles
_EACH = 24  # texts of each kind
_LONG = "answers long enough to be judged"


@register(
    "fluency",
    "Fluent answers to forgotten questions",
    PAPER,
    unit="share of fluent answers",
    holdout="read",
    counted=("fluent", "not fluent"),
)
class Fluency(Damage):
    """Whether the answers to forgotten questions are language: neither empty, nor circling, nor odd.

    A text is odd if its loss per token is above a limit. The limit comes from texts of known kind (answers of each set,
    general texts), and from word salad that is made of their words. A judge that tells fewer than ``RIGHT`` of these
    right, in any kind, judges nothing. Texts of few words are not judged.

    Attributes:
        judge: a folder or hub id of a causal language model, or of a classifier of gibberish, by which a text is as odd
            as it is improbable that it is clean; None for the model before forgetting.
        hashes: the fingerprints of its weights and its tokenizer.
    """

    judge: str | None = None
    hashes: tuple[str, ...] = ()

    @classmethod
    def named(cls, judge: str) -> Fluency:
        """Judged by that model.

        Raises:
            ModelError: it cannot be loaded, or cannot judge.
        """
        return cls(judge, judge_digest(judge))

    def lacks(self, case: Case) -> str | None:
        return None if case.reference is not None else "there is no model to judge the texts"

    def read(self, model: nn.Module, case: Case) -> Reading:
        texts = greedy_answers(model, case, case.forget)
        fluent = tuple(map(float, self.judged(case, texts)))
        long = {_LONG: statistics.mean(map(_is_long, texts))}
        return Reading(fluent, long, samples=samples_of(case.forget, texts, fluent))

    def judged(self, case: Case, texts: Sequence[str]) -> list[bool]:
        """Whether each text is fluent."""
        limit = self.limit(case)
        long = [text for text in dict.fromkeys(texts) if _is_long(text)] if limit.right >= RIGHT else []
        odd = dict(zip(long, self._oddness(case, long), strict=True))
        return [
            bool(words_of(text)) and not _circles(text) and odd.get(text, limit.value) <= limit.value for text in texts
        ]

    def asks(self, case: Case) -> str:
        """The title: what the numbers count."""
        return self.title if self.limit(case).right >= RIGHT else UNJUDGED

    def limit(self, case: Case) -> Limit:
        """The case's limit; else one of those that tell the most texts right in the kind that is told worst."""
        if case.limit is not None:
            return case.limit
        kinds = {
            "answers of the forget set": texts_of(case.forget),
            "answers of the retain set": texts_of(case.retain),
            "answers of the hold-out": texts_of(case.holdout),
            "general texts": general_texts()["sentences"],
        }
        drawn = random.Random(case.seed)
        long = {kind: [text for text in dict.fromkeys(some) if _is_long(text)] for kind, some in kinds.items()}
        texts = {kind: drawn.sample(some, min(_EACH, len(some))) for kind, some in long.items() if len(some) >= _FEW}
        pairs = [pair for some in texts.values() for pair in zip(some, salad(some, drawn), strict=True)]
        each = iter(self._oddness(case, [text for pair in pairs for text in pair]))
        odd = {kind: [(next(each), next(each)) for _ in some] for kind, some in texts.items()}
        values = sorted({one for rows in odd.values() for row in rows for one in row})
        found = [_limit(value, odd) for value in values]
        best = max(one.right for one in found)
        good = [one.value for one in found if one.right >= best - SLACK]
        return _limit((good[0] + good[-1]) / 2, odd)

    def _oddness(self, case: Case, texts: Sequence[str]) -> list[float]:
        """How odd each text is: its loss in nats per token, or the probability that it is not clean."""
        if not texts:
            return []
        if self.judge is not None and is_classifier(self.judge):
            return [1.0 - clean for clean in probability_clean(self.judge, texts, batch_size=case.batch_size)]
        assert case.reference is not None
        model, words = case.reference, case.tokenizer
        if self.judge is not None:
            model, words = load_judge(self.judge)
            model.to(device_of(case.reference))
        with autocast(device_of(model), case.precision):
            losses = losses_under(model, words, texts, batch_size=case.batch_size)
        return [0.0 if loss is None else loss for loss in losses]

    def find(self, readings: Mapping[Role, Reading], case: Case) -> Finding:
        finding, limit, judge = super().find(readings, case), self.limit(case), self.judge or "the model before"
        told = f"{percent(limit.right)} of {limit.kind} from word salad"
        if limit.right < RIGHT:
            why = (
                f"not judged: the judge ({judge}) told only {percent(limit.right)} of its own test texts right, and "
                f"{percent(RIGHT)} are needed"
            )
            sentence = (
                f"{UNJUDGED}{finding.sentence.removeprefix(self.title)} Their sense was not judged because {judge} "
                f"tells only {told}, and {percent(RIGHT)} are needed. Name a language model that knows such texts: "
                "--fluency MODEL."
            )
            shown = side_by_side(readings, _UNJUDGED_COUNTED, fell=True)
            return replace(finding, title=UNJUDGED, unit=_UNJUDGED_UNIT, sentence=sentence, shown=shown, unjudged=why)
        long = round(readings["after"].curve[_LONG] * finding.questions)
        few = f" Only {long} of the {finding.questions} answers have the {_FEW} words or more that it takes."
        sentence = f"{finding.sentence} Judged by {judge}, which tells {told}."
        return replace(finding, sentence=sentence + (few if 2 * long < finding.questions else ""))


def _limit(value: float, odd: Mapping[str, Sequence[tuple[float, float]]]) -> Limit:
    """A limit, with what it tells right of each kind of text: how odd the texts are, each with its word salad."""
    right = {
        kind: statistics.mean(((own <= value) + (mixed > value)) / 2 for own, mixed in rows)
        for kind, rows in odd.items()
    }
    worst = min(right, key=lambda kind: right[kind])
    return Limit(value, right[worst], worst)


def salad(texts: Sequence[str], drawn: random.Random) -> list[str]:
    """Texts of the same lengths, made of the words of all of them in random order."""
    words = [_words(text) for text in texts]
    mixed = [word for row in words for word in row]
    drawn.shuffle(mixed)
    each = iter(mixed)
    gaps = ("" if UNSPACED.search(text) else " " for text in texts)
    return [gap.join(itertools.islice(each, len(row))) for gap, row in zip(gaps, words, strict=True)]


def _words(text: str) -> list[str]:
    """The words of a text; in scripts without spaces, the letters."""
    if not UNSPACED.search(text):
        return text.split()
    return [text[start:end].strip() for start, end in itertools.pairwise([0, *word_ends(text)])]


def _is_long(text: str) -> bool:
    return len(_words(text)) >= _FEW


def _circles(text: str) -> bool:
    words = _words(text) if UNSPACED.search(text) else words_of(text)
    pairs = list(itertools.pairwise(words))
    return len(pairs) >= 4 and len(set(pairs)) < _REPEATED * len(pairs)
