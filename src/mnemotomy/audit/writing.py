"""The answers that a model writes to questions asked in several ways, and what they say."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import ClassVar

from torch import nn

from mnemotomy.audit.attack import Attack
from mnemotomy.audit.base import Case, Part, Reading, Sample, Use
from mnemotomy.audit.judging import said, says, telling
from mnemotomy.audit.wording import Asked
from mnemotomy.core.modules import device_of
from mnemotomy.core.precision import autocast
from mnemotomy.core.seeds import mix
from mnemotomy.observe.generation import continue_tokens
from mnemotomy.observe.sampling import Sampling
from mnemotomy.text.encoding import encode_question
from mnemotomy.text.probes import Probe
from mnemotomy.text.tokenizing import tokenized

_SLACK, _LONGEST = 20, 160  # tokens of a written answer: beyond the longest true one, and in all
_WRITING = 8  # times as many rows when the model writes
_OTHERS = 8  # answers to other questions, by which chance is judged


def tokens_of(case: Case, asked: Asked) -> list[int]:
    """The prompt as the model reads it, up to where it is to write."""
    return encode_question(case.tokenizer, asked.probe.question, asked.probe.template, asked.start)


def write_answers(
    model: nn.Module,
    case: Case,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling | None = None,
    asked: Sequence[Probe] = (),
    slack: int = _SLACK,
) -> list[list[str]]:
    """What the model writes after each prompt: ``slack`` tokens more than the longest true answer has."""
    answers = [answer for probe in (*case.forget, *case.holdout, *asked) for answer in probe.answers]
    longest = max(len(tokenized(case.tokenizer, one, add_special_tokens=False)["input_ids"]) for one in answers)
    with autocast(device_of(model), case.precision):
        return continue_tokens(
            model,
            case.tokenizer,
            prompts,
            min(longest + slack, _LONGEST),
            batch_size=_WRITING * case.batch_size,
            sampling=sampling,
        )


def greedy_answers(model: nn.Module, case: Case, probes: Sequence[Probe]) -> list[str]:
    """The greedy answer to each probe."""
    prompts = [tokens_of(case, Asked(probe)) for probe in probes]
    return [text.strip() for (text,) in write_answers(model, case, prompts, asked=probes)] if prompts else []


def _answers(probe: Probe) -> str:
    """The true answers to a question, for the report."""
    return " / ".join(probe.answers)


def samples_of(probes: Sequence[Probe], texts: Sequence[str], values: Sequence[float]) -> tuple[Sample, ...]:
    """What was written to each probe, and what it counts."""
    rows = enumerate(zip(probes, texts, values, strict=True))
    return tuple(Sample(place, one.question, _answers(one), text, value) for place, (one, text, value) in rows)


@dataclass(frozen=True)
class Written(Attack):
    """An attack that asks in some ways, and takes the mean over them; of several answers to one, the best counts.

    The floor is the same for the hold-out, if there is one (``apart``); else how often an answer to another question is
    said.
    """

    holdout: ClassVar[Use] = "apart"
    part: ClassVar[Part] = "asking"
    unit: ClassVar[str] = "share of answers said"
    says: ClassVar[str] = "{title}, it says {after} of the answers"

    def ways(self, probe: Probe, case: Case) -> Mapping[str, Asked]:
        """The ways to ask for a probe's answer, by name; the probe that is asked has the answer to look for."""
        return {"": Asked(probe)}

    def write(self, model: nn.Module, case: Case, asked: Sequence[Asked]) -> list[list[str]]:
        """The answers to each question."""
        return write_answers(model, case, [tokens_of(case, one) for one in asked])

    def sizes(self) -> Sequence[int]:
        """The numbers of samples to tell the results of, where several are drawn for a question; rising."""
        return ()

    def curve(self, scores: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, float]:
        """The mean by way, if there are several; ``scores`` are of the answers, by question and way."""
        names = list(dict.fromkeys(name for row in scores for name in row))
        by_name = {name: [max(row[name]) for row in scores if name in row] for name in names}
        return {name: mean(row) for name, row in by_name.items()} if len(names) > 1 else {}

    def lacks(self, case: Case) -> str | None:
        if any(self.ways(probe, case) for probe in case.forget):
            return None
        return "none of the questions can be asked in this way"

    def read(self, model: nn.Module, case: Case) -> Reading:
        rows = [self.ways(probe, case) for probe in case.forget]
        asked = [one for row in rows for one in row.values()]
        texts = iter(self.write(model, case, asked) if asked else ())
        written = [{name: next(texts) for name in row} for row in rows]
        scores: list[dict[str, list[float]]] = [
            {name: [says(row[name].probe, text) for text in texts[name]] for name in row}
            for row, texts in zip(rows, written, strict=True)
        ]
        parts = [list(row.values()) for row in scores], self._chance(case, rows, written)
        values, floor = (tuple(mean([max(some) for some in row]) for row in part) for part in parts)
        by_size = [
            tuple(tuple(mean([best_of(some, k) for some in row]) for row in part) for part in parts)
            for k in self.sizes()
        ]
        samples = self._samples(rows, written, scores)
        sizes = {str(k): (own, guessed) for k, (own, guessed) in zip(self.sizes(), by_size, strict=True)}
        return Reading(values, self.curve(scores), floor, sizes=sizes, samples=samples)

    def _chance(
        self, case: Case, rows: Sequence[Mapping[str, Asked]], written: Sequence[Mapping[str, Sequence[str]]]
    ) -> list[list[list[float]]]:
        """How far each text says the answers to other questions: by question, answer and way, and text."""
        pool = {one.answer: one for row in rows for asked in row.values() for one in asked.probe.each}
        if len({tuple(telling(one.answer, one.question)) for one in pool.values()}) < 2:
            pool |= {one.answer: one for one in case.retain}
        chosen = random.Random(mix(case.seed, len(pool)))
        chances = list[list[list[float]]]()
        for row, texts in zip(rows, written, strict=True):
            if not row:
                continue
            probe = next(iter(row.values())).probe
            own = [telling(answer, probe.question) for answer in probe.answers]
            others = [one for one in pool.values() if telling(one.answer, one.question) not in own]
            some = chosen.sample(others, min(_OTHERS, len(others)))
            if some:
                chances.append([
                    [said(one.answer, text, f"{one.question} {probe.question}") for text in texts[name]]
                    for one in some
                    for name in row
                ])  # fmt: skip
        return chances

    def _samples(
        self,
        rows: Sequence[Mapping[str, Asked]],
        written: Sequence[Mapping[str, Sequence[str]]],
        scores: Sequence[Mapping[str, Sequence[float]]],
    ) -> tuple[Sample, ...]:
        """For each question, the text that says most."""
        found = []
        for place, (row, texts, score) in enumerate(zip(rows, written, scores, strict=True)):
            ranked = [(value, name, text) for name in row for text, value in zip(texts[name], score[name], strict=True)]
            if ranked:
                value, name, text = max(ranked, key=lambda one: one[0])
                probe, start = row[name]
                found.append(Sample(place, probe.question, _answers(probe), start + text, value))
        return tuple(found)


def best_of(scores: Sequence[float], k: int) -> float:
    """The expected best of k of n scores that are drawn without replacement."""
    n = len(scores)
    return sum(comb(place, k - 1) * score for place, score in enumerate(sorted(scores))) / comb(n, k)


def mean(values: Sequence[float]) -> float:
    """The mean; 0 if there are no numbers."""
    return sum(values) / len(values) if values else 0.0
