"""What is left of a forget set, and what it cost, read from a model in few forward passes."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mnemotomy.audit.base import Case, Reading
from mnemotomy.audit.cases import completed
from mnemotomy.audit.damage import HARM
from mnemotomy.audit.fluency import Fluency
from mnemotomy.audit.judging import telling_tokens
from mnemotomy.audit.statistics import compare
from mnemotomy.audit.writing import greedy_answers
from mnemotomy.core.modules import device_of, observing
from mnemotomy.core.precision import Precision, autocast, resolved
from mnemotomy.engram.edit import Edit
from mnemotomy.forget.general import general_rows
from mnemotomy.forget.request import Request, reworded
from mnemotomy.forget.scores import Details, Measure, Scores
from mnemotomy.methods.language.predictions import ROWS_AT_ONCE, Predictions, predict
from mnemotomy.text.encoding import IGNORED, Encoded, encode
from mnemotomy.text.probes import Probe

KNOWN_AT_LEAST = 0.5
"""A rewording counts if the model knew under it at least this share of what it knew in the original words."""

ENOUGH = 8
"""Whole answers, at least, for a share of them to count; in a set of fewer questions, all of these. Of two answers in
one wording, one that is left would be half of what was known; a few say more over all wordings together."""

POSITIONS = 300
"""Tokens of kept answers, and as many of general texts, at which all probabilities are compared."""

_SUFFERED = (
    "other facts of the same kind, which the retain set does not have, suffered too: the model now predicts {after} of "
    "their answers' tokens, {before} before; retain more such facts or, if every line to forget has a 'subject', give "
    "other names of the same kind as neighbours (--neighbours)"
)


class _Read(NamedTuple):
    probability: Float[Tensor, " n"]
    exact: float
    hits: float
    logs: list[Float[Tensor, "tokens vocabulary"]]
    each: tuple[float, ...] = ()  # of the hits, by answer


class _Beside(NamedTuple):
    """What is told of a state besides its scores."""

    texts: list[str]
    neighbours: _Read


class _Floor(NamedTuple):
    """Where nothing is known: answers to other questions."""

    probability: float
    exact: float


class _Wording(NamedTuple):
    """Questions in one wording, as the model answered them before."""

    rows: Sequence[Encoded]
    before: _Read

    def left(self, now: _Read, floor: _Floor) -> float:
        """The share of what was known that is left, by probability; negative where it is below the floor."""
        known = float(self.before.probability.mean()) - floor.probability
        return (float(now.probability.mean()) - floor.probability) / known if known > 0 else 0.0

    def whole(self, now: _Read, floor: _Floor) -> tuple[float, float]:
        """How many whole answers are said now and were said before, above the floor."""
        return len(self.rows) * (now.exact - floor.exact), len(self.rows) * (self.before.exact - floor.exact)

    def shares(self, now: _Read) -> tuple[float, float]:
        """The shares of the probability and of the hits before that are left."""
        before = self.before
        return float(now.probability.mean() / before.probability.mean()), now.hits / before.hits


def left_by(wordings: Sequence[_Wording], reads: Sequence[_Read], floor: _Floor) -> tuple[float, float]:
    """The most that is left by any wording, and by whole answers where enough were known to take a share of.

    Returns:
        It with overshooting, which counts as much, and without.
    """
    pairs = list(zip(wordings, reads, strict=True))
    likely = [wording.left(read, floor) for wording, read in pairs]
    counts = [wording.whole(read, floor) for wording, read in pairs]
    counts.append((sum(now for now, _ in counts), sum(before for _, before in counts)))
    enough = min(ENOUGH, len(wordings[0].rows))
    whole = [now / before for now, before in counts if before >= enough]
    left, rest = max([*map(abs, likely), *whole]), max([0.0, *likely, *whole])
    return min(1.0, left), min(1.0, rest)


class Judge(Measure):
    """Compares any state of a language model with the model before, by questions in other words.

    ``left`` is the most that any wording leaves, in probability of the answers' telling words or in answers whose
    tokens are all the likeliest, in one wording or in all, where there were ``ENOUGH``; 0 is the level of answers to
    other questions, and overshooting counts against it.
    ``kept`` and ``hits`` are those of the wording that loses most: an edit may spare the retained words alone.

    Args:
        request: what to measure on; its model must not be edited yet.
        precision: of the forward passes.
    """

    def __init__(self, request: Request, precision: Precision = "no") -> None:
        self.model, self.tokenizer, self.precision = request.model, request.tokenizer, precision
        self.request = request
        self.kept_probes = request.kept()
        self.kept_rows = _positions([_row(probe, self.tokenizer) for probe in self.kept_probes])
        self.general = _positions(general_rows(self.model, self.tokenizer))
        self.wordings, self._floor = self._known_wordings(request.asked(), request.seed)
        self._before = [self._read(rows, keep=True) for rows in (self.kept_rows, self.general) if rows]
        self.kept_wordings = self._known_rewordings()
        self.before = self.scores()

    def scores(self) -> Scores:
        """The present state of the model."""
        reads = [self._read(wording.rows) for wording in self.wordings]
        left, rest = left_by(self.wordings, reads, self._floor)
        known = sum(float(read.probability.mean()) for read in reads) / len(reads)
        total, tokens, kept = 0.0, 0, None
        for rows, before in zip((one for one in (self.kept_rows, self.general) if one), self._before, strict=True):
            read = self._read(rows, keep=True)
            kept = read if kept is None else kept
            for old, new in zip(before.logs, read.logs, strict=True):
                total += float((old.exp() * (old - new)).sum())
                tokens += len(old)
        assert kept is not None
        kl = total / max(1, tokens)
        before, others = self._before[0], [one.shares(self._read(one.rows)) for one in self.kept_wordings]
        probability = min(
            [float(kept.probability.mean()), *(float(before.probability.mean()) * share for share, _ in others)]
        )
        hits = min([kept.hits, *(before.hits * share for _, share in others)])
        return Scores(left, known, probability, hits, kl if math.isfinite(kl) else math.inf, rest)

    def details(self, edit: Edit) -> Details:
        """What the choice did not go by: whether answers to forgotten questions are fluent, and neighbours kept.

        Neighbours that got worse are a caution by the audit's measure of damage: more than ``HARM``, beyond doubt.
        """
        before = self._beside
        with edit.on(self.model, check=False):
            after = self._read_beside()
        fluent = [Fluency().judged(self._case, state.texts) for state in (before, after)]
        found, cautions = {Fluency().asks(self._case).lower(): [sum(one) / len(one) for one in fluent]}, list[str]()
        if self.request.beside:
            old, new = before.neighbours, after.neighbours
            found["the answers' tokens, of neighbours outside the retain set"] = [old.hits, new.hits]
            change = compare({"before": Reading(old.each), "after": Reading(new.each)}, self.request.seed).change
            if old.hits - new.hits > HARM and change.high < 0.0:
                cautions.append(_SUFFERED.format(before=f"{100 * old.hits:.0f} %", after=f"{100 * new.hits:.0f} %"))
        told = {name: dict(zip(("before", "after"), shares, strict=True)) for name, shares in found.items()}
        return Details(told, cautions)

    @functools.cached_property
    def _case(self) -> Case:
        """What an audit of fluency asks, judged by the model before."""
        asked, precision = self.request.asked()[0], resolved(self.precision, device_of(self.model))
        case = Case(self.tokenizer, asked, self.kept_probes, template=self.request.template, precision=precision)
        case = completed(case, self.model, {"paraphrases": [()] * len(asked)})[0]
        return replace(case, limit=Fluency().limit(case))

    @functools.cached_property
    def _beside(self) -> _Beside:
        return self._read_beside()  # before any edit

    def _read_beside(self) -> _Beside:
        rows = [_row(probe, self.tokenizer) for probe in self.request.askable(self.request.beside)]
        texts = greedy_answers(self.model, self._case, self._case.forget)
        return _Beside(texts, self._read(rows))

    def _known_rewordings(self) -> list[_Wording]:
        """The kept questions by each rewording under which the model knows them nearly as well."""
        forms = [
            [_row(probe, self.tokenizer) for probe in form]
            for form in reworded(self.kept_probes[: len(self.kept_rows)])
        ]
        found = [_Wording(rows, self._read(rows)) for rows in forms]
        least = KNOWN_AT_LEAST * self._before[0].hits
        return [one for one in found if one.before.hits >= max(least, 1e-9)]

    def _known_wordings(self, forms: Sequence[Sequence[Probe]], seed: int) -> tuple[list[_Wording], _Floor]:
        """The original words, and the rewordings under which the model knows the answers nearly as well."""
        rows = [[telling_row(probe, self.tokenizer) for probe in form] for form in forms]
        found = [_Wording(one, self._read(one)) for one in rows]
        least = KNOWN_AT_LEAST * float(found[0].before.probability.mean())
        good = [found[0], *(one for one in found[1:] if float(one.before.probability.mean()) >= least)]
        others = [telling_row(probe, self.tokenizer) for probe in self._swapped(forms[0], seed)]
        floor = self._read(others) if others else None
        lowest = min(float(one.before.probability.mean()) for one in good)
        return good, _Floor(
            0.0 if floor is None else min(float(floor.probability.mean()), lowest),
            0.0 if floor is None else floor.exact,
        )

    def _swapped(self, probes: Sequence[Probe], seed: int) -> list[Probe]:
        """Each question with a wrong answer: of a kept question, else of another forgotten one."""
        own = {probe.answer for probe in probes}
        pool = [probe.answer for probe in self.kept_probes if probe.answer not in own] or sorted(own)
        drawn, found = random.Random(seed), []
        for probe in probes:
            wrong = [answer for answer in pool if answer != probe.answer]
            if wrong:
                likely = sorted(wrong, key=lambda answer: abs(len(answer) - len(probe.answer)))[
                    : max(4, len(wrong) // 8)
                ]
                found.append(Probe(probe.question, drawn.choice(likely), probe.template))
        return found

    def _read(self, rows: Sequence[Encoded], *, keep: bool = False) -> _Read:
        order = sorted(range(len(rows)), key=lambda index: len(rows[index].input_ids))
        probability = torch.zeros(len(rows), dtype=torch.float64)
        hits, tokens, exact, logs, each = 0, 0, 0, [], torch.zeros(len(rows), dtype=torch.float64)
        with observing(self.model), autocast(device_of(self.model), self.precision):
            for start in range(0, len(order), ROWS_AT_ONCE):
                indices = order[start : start + ROWS_AT_ONCE]
                found: Predictions = predict(self.model, [rows[index] for index in indices], self.tokenizer)
                own = found.log_probabilities().double().cpu()
                mean = found.summed(own.to(found.rows.device)).cpu() / found.lengths().cpu()
                probability[indices] = mean.exp()
                hit = found.logits.argmax(-1) == found.targets
                own_hits, lengths = found.summed(hit.double()).cpu(), found.lengths().cpu()
                exact += int((own_hits == lengths).sum())
                each[indices] = own_hits / lengths
                hits += int(hit.sum())
                tokens += len(found.targets)
                if keep:
                    logs.append(found.logits.float().log_softmax(-1).cpu())
        return _Read(probability, exact / max(1, len(rows)), hits / max(1, tokens), logs, tuple(each.tolist()))


def _row(probe: Probe, tokenizer: Any) -> Encoded:
    """The probe as tokens; only the answer's own are to be predicted."""
    encoded = encode(probe.example, tokenizer, probe.template)
    return Encoded(encoded.input_ids, encoded.marked("answer"))


def telling_row(probe: Probe, tokenizer: Any) -> Encoded:
    """The same with the tokens of the answer's telling words alone: what repeats the question shows no knowledge."""
    row = _row(probe, tokenizer)
    places = [place for place, label in enumerate(row.labels) if label != IGNORED]
    tokens = [row.labels[place] for place in places]
    words = telling_tokens(probe.answer, probe.question, tokens, tokenizer.decode)
    kept = {places[token] for word in words for token in word}
    if not kept:
        return row
    return Encoded(row.input_ids, [label if place in kept else IGNORED for place, label in enumerate(row.labels)])


def _positions(rows: Sequence[Encoded]) -> list[Encoded]:
    """As many rows as have ``POSITIONS`` labels in all."""
    found, count = [], 0
    for row in rows:
        found.append(row)
        count += sum(label != IGNORED for label in row.labels)
        if count >= POSITIONS:
            break
    return found
