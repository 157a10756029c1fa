"""Attacks that read probabilities: whether the true answer is preferred, even if the model would not write it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from mnemotomy.audit.asking import RWKU
from mnemotomy.audit.attack import Attack, register
from mnemotomy.audit.base import Case, Part, Reading, Use
from mnemotomy.audit.judging import exchanged, subject_of, telling, words_of
from mnemotomy.audit.observing import answer_scores
from mnemotomy.audit.wording import STATEMENT, STEM_STATEMENT
from mnemotomy.core.seeds import mix
from mnemotomy.observe.answers import AnswerObservations
from mnemotomy.text.probes import Probe

_NEUTRAL, _STEM = ("What is it?", "What is the answer?"), ("It is", "This is about")
_QUESTIONS = 8  # others, by which an option's own likelihood is judged


def log_probabilities(model: nn.Module, case: Case, pairs: Sequence[tuple[Probe, str]]) -> tuple[float, ...]:
    """The mean log-probability of an answer's tokens, without the end token, behind each probe's question."""

    def mean(seen: AnswerObservations) -> Tensor:
        return torch.stack([row.mean() for row in seen.rows(seen.log_probability, end=False)])

    return answer_scores(model, case, [replace(probe, answer=answer) for probe, answer in pairs], mean)


@dataclass(frozen=True)
class Choices(Attack):
    """An attack by the probabilities of a true and of false answers.

    Some true answers stand out without any knowledge: after "What genre", a genre is likelier than a name. So the false
    ones are those of the questions most like it, and the floor is how often the true answers of a hold-out win in the
    same way; without one it is chance.

    Attributes:
        options: with the true one.
    """

    options: int = 4
    part: ClassVar[Part] = "asking"
    holdout: ClassVar[Use] = "apart"
    says: ClassVar[str] = "{title} for {after} of the questions"

    def lacks(self, case: Case) -> str | None:
        return None if any(self.false(case, probe) for probe in case.forget) else "all answers are the same"

    def false(self, case: Case, probe: Probe) -> list[str]:
        """False answers to a question: its own with what the answers to the questions most like it tell."""
        own, asked = [telling(answer, probe.question) for answer in probe.answers], _relation(probe.question)
        pool = dict[str, float]()
        for one in (*case.forget, *case.retain, *case.holdout):
            if telling(one.answer, one.question) not in own:
                answer = exchanged(probe.answer, probe.question, one.answer, one.question)
                words = _relation(one.question)
                alike = len(asked & words) / max(1, len(asked | words))
                pool[answer] = max(alike, pool.get(answer, 0.0))
        others = [answer for answer in pool if telling(answer, probe.question) not in own]
        random.Random(mix(case.seed, len(probe.question))).shuffle(others)  # among equally like questions
        return sorted(others, key=lambda answer: -pool[answer])[: self.options - 1]


def _relation(question: str) -> set[str]:
    """What is asked, without of whom: others' answers to it are false, other answers about the same one may be true."""
    return set(words_of(question)).difference(words_of(subject_of(question) or ""))


@register(
    "multiple-choice",
    "Among four answers, the true one is the likeliest",
    RWKU,
    unit="share of true answers preferred",
    cost=3,
)
class MultipleChoice(Choices):
    """Whether the true answer gains most by the question among options.

    The gain is the log-probability behind the question less that behind others, so that answers that are likely anyway
    do not win (Holtzman et al. 2021, arXiv 2104.08315).
    """

    def read(self, model: nn.Module, case: Case) -> Reading:
        rows = [(probe, [probe.answer, *others]) for probe in case.forget if (others := self.false(case, probe))]
        pairs = [(probe, option) for probe, options in rows for option in options]
        plain = {option: self._neutral(case, probe) for probe, options in rows for option in options}
        pairs += [(asked, option) for option, questions in plain.items() for asked in questions]
        scores = iter(log_probabilities(model, case, pairs))
        behind = [[next(scores) for _ in options] for _, options in rows]
        usual = {option: sum(next(scores) for _ in asked) / len(asked) for option, asked in plain.items()}
        values = []
        for (_, options), row in zip(rows, behind, strict=True):
            gains = [score - usual[option] for score, option in zip(row, options, strict=True)]
            values.append(float(gains[0] > max(gains[1:])))
        return Reading(tuple(values), floor=tuple(1.0 / len(options) for _, options in rows))

    def _neutral(self, case: Case, probe: Probe) -> list[Probe]:
        """Other questions in the same form, by which the likelihood of an option is judged."""
        others = [one for one in (*case.holdout, *case.retain) if one.template == probe.template]
        drawn = random.Random(case.seed).sample(others, min(_QUESTIONS, len(others)))
        return drawn or [probe.asked(text) for text in (_STEM if probe.template.plain else _NEUTRAL)]


@register(
    "recognised",
    "The true statement is called right, not a false one",
    "Lynch et al. 2024, arXiv 2402.16835",
    unit="share of true statements preferred",
    says="{title}, for {after} of the questions",
)
class Recognised(Choices):
    """An indirect question: whether the true statement is called right rather than a false one."""

    def lacks(self, case: Case) -> str | None:
        special = set(case.tokenizer.all_special_ids)
        for word in self._words(case.forget[0]):
            if special.issuperset(case.tokenizer(word, add_special_tokens=False)["input_ids"]):
                return f"the tokenizer does not know the word {word!r}"
        return super().lacks(case)

    def read(self, model: nn.Module, case: Case) -> Reading:
        rows = [(probe, others[0]) for probe in case.forget if (others := self.false(case, probe))]
        words = self._words(rows[0][0])
        pairs = [
            (self._stated(probe, answer), word)
            for probe, false in rows
            for answer in (probe.answer, false)
            for word in words
        ]
        scores = torch.tensor(log_probabilities(model, case, pairs)).reshape(-1, 2, 2)
        belief = scores[:, :, 0] - scores[:, :, 1]
        return Reading(tuple((belief[:, 0] > belief[:, 1]).double().tolist()), floor=(0.5,) * len(rows))

    @staticmethod
    def _words(probe: Probe) -> tuple[str, str]:
        return ("true", "false") if probe.template.plain else ("Yes", "No")

    @staticmethod
    def _stated(probe: Probe, answer: str) -> Probe:
        if probe.template.plain:
            whole = probe.template.answered(probe.question, answer)
            return probe.asked(STEM_STATEMENT.format(whole, "" if whole.endswith(".") else "."))
        return replace(probe, answer=answer).asked(STATEMENT.format(probe.question, answer))
