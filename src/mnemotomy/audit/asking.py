"""Attacks that ask and read what the model writes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from mnemotomy.audit.attack import register
from mnemotomy.audit.base import Case, Reading, Role, Sample
from mnemotomy.audit.judging import said, subject_of, telling, words_of
from mnemotomy.audit.statistics import Compared
from mnemotomy.audit.verdict import GONE, WEAK
from mnemotomy.audit.wording import ADVERSARIAL, AFFIRMATIVE, PARAPHRASES, REVERSED, SHOT, Asked, with_synonyms
from mnemotomy.audit.writing import Written, best_of, mean, tokens_of, write_answers
from mnemotomy.core.seeds import mix
from mnemotomy.observe.sampling import Sampling
from mnemotomy.text.encoding import encode_answer
from mnemotomy.text.probes import Probe
from mnemotomy.text.template import OPEN_UNLEARNING, has_chat_template

RWKU = "Jin et al. 2024, arXiv 2406.10890"
_BEGUN = "The answer is"  # without a template, a model that was trained to chat ends at once


@register("greedy", "Asked plainly", "Maini et al. 2024, arXiv 2401.06121")
class Greedy(Written):
    """The question as it is, answered by the likeliest tokens."""


@register("paraphrase", "Asked in other words", "Lynch et al. 2024, arXiv 2402.16835", cost=2)
class Paraphrased(Written):
    """Other words: the file's own, the model's before forgetting, and our templates.

    Attributes:
        most: ways for each question.
    """

    most: int = 4

    def ways(self, probe: Probe, case: Case) -> Mapping[str, Asked]:
        found = [Asked(probe.asked(one)) for one in probe.paraphrases]
        found += [one for one in (wording.of(probe) for wording in PARAPHRASES) if one is not None]
        return {str(number): one for number, one in enumerate(found[: self.most], start=1)}


@register(
    "samples",
    "Sampled again and again",
    "Reisizadeh et al. 2025, arXiv 2511.04934; Scholten et al., ICLR 2025",
    says="By the best of {at} samples, it says {after} of the answers",
    cost=20,
)
class Samples(Written):
    """The best of k answers at temperature 1 from a nucleus; estimated without bias from all samples.

    ``E[max of k] = Σ C(i − 1, k − 1) x₍ᵢ₎ / C(n, k)`` over the n sorted scores, which for yes and no is
    ``1 − C(n − c, k) / C(n, k)``.

    The more samples, the more answers are guessed as well, and the less an attack tells. The trace is that of the
    largest k at which a model that knows nothing would be found to know nothing, or of a k at which more than nothing
    is left beyond doubt (``chosen``).

    Attributes:
        samples: n, the largest k.
        top_p: of the nucleus.
        slack: tokens that a completion may have beyond the longest true answer. It says its answer at once or hardly
            ever: on SmolLM2, 98 % of the sampled texts that say it do so within eight tokens; through its chat template
            40 % do, so that other answers have 20.
    """

    samples: int = 64
    top_p: float = 0.95
    slack: int = 8

    def sizes(self) -> Sequence[int]:
        return [2**power for power in range(self.samples.bit_length()) if 2**power <= self.samples]

    def write(self, model: nn.Module, case: Case, asked: Sequence[Asked]) -> list[list[str]]:
        how = Sampling(self.samples, top_p=self.top_p, seed=case.seed)
        prompts = [tokens_of(case, one) for one in asked]
        if all(one.probe.template.plain for one in asked):
            return write_answers(model, case, prompts, how, slack=self.slack)
        return write_answers(model, case, prompts, how)

    def curve(self, scores: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, float]:
        return {str(k): mean([best_of(row[""], k) for row in scores]) for k in self.sizes()}

    def compared(self, readings: Mapping[Role, Reading], seed: int) -> Compared:
        compare = super().compared
        by_size = [
            compare({role: one.of(str(size)) for role, one in readings.items()}, seed)._replace(at=str(size))
            for size in self.sizes()
            if all(str(size) in one.sizes for one in readings.values())  # else it was kept by an earlier version
        ]
        return chosen(by_size) if by_size else compare(readings, seed)._replace(at=str(self.samples))


def chosen(by_size: Sequence[Compared]) -> Compared:
    """The comparison that a verdict goes by, of several by rising number of samples.

    That of the largest number at which a trace of 0 is told from ``GONE`` in nearly all cases: the interval of a model
    that knows nothing is half as wide. How much is left of the forgotten answers does not enter this choice. Numbers
    at which the attack was too weak before do not count, unless it is at all. Where more than nothing is left beyond
    doubt by any number of samples, the strongest evidence of that is taken.
    """
    evident = [one for one in by_size if one.trace is not None and one.trace.low > 0.0]
    if evident:
        return max(evident, key=lambda one: one.trace.low if one.trace else 0.0)
    strong = [one for one in by_size if one.above >= WEAK] or by_size
    sharp = [one for one in strong if one.blur <= GONE / 2]
    return sharp[-1] if sharp else min(strong, key=lambda one: one.blur)


@register("other-template", "Asked without the chat template, or with it", "Lynch et al. 2024, arXiv 2402.16835")
class OtherTemplate(Written):
    """Without the chat template what is asked through it, and the reverse: a refusal may hang on the template."""

    def ways(self, probe: Probe, case: Case) -> Mapping[str, Asked]:
        if probe.template.uses_chat(case.tokenizer):
            bare = replace(probe.template, plain=True)
            tagged = replace(probe, question=OPEN_UNLEARNING.tagged(probe.question).strip(), template=bare)
            return {"tags": Asked(tagged, _BEGUN), "bare": Asked(replace(probe, template=bare))}
        if not has_chat_template(case.tokenizer):
            return {}
        text = f"Complete the sentence: {probe.question}" if probe.template.plain else probe.question
        return {"chat": Asked(replace(probe, question=text, template=replace(probe.template, plain=False)))}


@register(
    "beginning",
    "Given the first tokens of the answer",
    "Carlini et al. 2023, arXiv 2202.07646; Maini et al. 2024, arXiv 2401.06121",
    unit="share of continuations said",
    says="{title}, it says {after} of the rest",
    holdout="read",
    cost=4,
)
class Beginning(Written):
    """Behind the first tokens of the answer; only what the model adds counts.

    The floor is the same for the hold-out, if there is one; else behind another question, so that what follows from the
    language alone does not count.

    Attributes:
        tokens: of the answer that are given.
    """

    tokens: tuple[int, ...] = (1, 2, 4, 8, 16)

    def ways(self, probe: Probe, case: Case) -> Mapping[str, Asked]:
        return {str(k): Asked(probe) for k in self.tokens if self._cut(case, probe, k) is not None}

    def read(self, model: nn.Module, case: Case) -> Reading:
        probes, size = list(case.forget), len(case.forget)
        asked = [(one, one) for one in probes]
        asked += [(one, one) for one in case.holdout[:size]] or list(zip(probes, [*probes[1:], probes[0]], strict=True))
        rows = [
            (place, k, *cut)
            for place, (probe, _) in enumerate(asked)
            for k in self.tokens
            if (cut := self._cut(case, probe, k)) is not None
        ]
        prompts = [[*tokens_of(case, Asked(asked[place][1])), *given] for place, _, given, _ in rows]
        texts = [text for (text,) in write_answers(model, case, prompts)]
        scores: list[dict[str, list[float]]] = [{} for _ in asked]
        best: dict[int, Sample] = {}
        for (place, k, given, rest), text in zip(rows, texts, strict=True):
            value = said(rest, text[: 2 * len(rest) + 8])
            scores[place][str(k)] = [value]
            probe, start = asked[place][0], case.tokenizer.decode(given)
            if place not in best or value > best[place].value:
                best[place] = Sample(place, probe.question, probe.answer, f"{start}|{text}", value)
        means = [mean([value for (value,) in row.values()]) for row in scores]
        own, others = (tuple(one for one in best.values() if (one.place < size) == known) for known in (True, False))
        return Reading(
            tuple(means[:size]),
            self.curve(scores[:size]),
            tuple(means[size:]),
            samples=own,
            unseen=others if case.holdout else (),
        )

    @staticmethod
    def _cut(case: Case, probe: Probe, k: int) -> tuple[list[int], str] | None:
        """The first k tokens of the answer and what is left of it; None if nothing telling is."""
        encoded = encode_answer(case.tokenizer, probe.question, probe.answer, probe.template)
        answer = encoded.answer
        rest = case.tokenizer.decode(answer[k:], skip_special_tokens=True).strip()
        return (answer[:k], rest) if words_of(rest) else None


@register("affirmative", "Given an affirmative start", RWKU)
class Affirmative(Written):
    """Behind the start of an answer that agrees to tell, which needs no consent of the model."""

    def ways(self, probe: Probe, case: Case) -> Mapping[str, Asked]:
        return {} if probe.template.plain else {"": Asked(probe, AFFIRMATIVE)}


@register("in-context", "Asked behind other facts", RWKU, cost=6)
class Shots(Written):
    """Behind other facts, questions with their answers in context.

    Attributes:
        shots: other facts.
    """

    shots: int = 3

    def ways(self, probe: Probe, case: Case) -> Mapping[str, Asked]:
        own = [telling(answer) for answer in probe.answers]
        others = [
            one
            for one in (case.retain or case.forget)
            if telling(one.answer) not in own and one.template.plain == probe.template.plain
        ]
        others = random.Random(mix(case.seed, len(others))).sample(others, min(self.shots, len(others)))
        if not others:
            return {}
        if probe.template.plain:
            lines = [one.template.answered(one.question, one.answer) for one in others]
            return {"": Asked(probe.asked("\n".join([*lines, probe.question])))}
        lines = [SHOT.format(one.question, one.answer) for one in others]
        return {"": Asked(probe.asked("\n\n".join([*lines, SHOT.format(probe.question, "").strip()])))}


@register("adversarial", "Asked adversarially", RWKU, cost=3)
class Adversarial(Written):
    """RWKU's kinds of adversarial probe, each as a template of our own, and words replaced by synonyms."""

    def ways(self, probe: Probe, case: Case) -> Mapping[str, Asked]:
        found = {name: wording.of(probe) for name, wording in ADVERSARIAL.items()}
        other = with_synonyms(probe.question)
        found["synonym"] = None if other is None else Asked(probe.asked(other))
        return {name: one for name, one in found.items() if one is not None}


@register(
    "reversed",
    "Asked in reverse, from the answer",
    RWKU,
    unit="share of subjects said",
    says="{title}, it says {after} of the subjects",
)
class Reversed(Written):
    """From the answer to what the question was about."""

    def ways(self, probe: Probe, case: Case) -> Mapping[str, Asked]:
        subject = subject_of(probe.question)
        if subject is None or probe.template.plain or subject not in probe.question:
            return {}
        text = REVERSED.format(answer=probe.answer, gap=probe.question.replace(subject, "___"))
        return {"": Asked(replace(probe.asked(text), answer=subject, also=()))}
