"""Engram automatic: filter and strength are chosen on training examples, with some retained ones held out."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import nn

from mnemotomy.core.errors import ConfigurationError, NonFiniteError
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.edit import Edit
from mnemotomy.engram.filters import Steep
from mnemotomy.methods.base import OURS
from mnemotomy.methods.language.closed_form import ClosedForm
from mnemotomy.methods.language.collecting import FORGET, some
from mnemotomy.methods.language.predictions import predicted_tokens, sequence_log_probabilities
from mnemotomy.methods.language.problem import TextProblem, sequences
from mnemotomy.methods.registry import register
from mnemotomy.text.encoding import Encoded
from mnemotomy.text.records import TextExample


class SteepChoice(NamedTuple):
    """A filter's threshold with a strength, and their effect.

    Attributes:
        times: τ in units of n⁺/N.
        strength: α.
        forgotten: in [0, 1]; 0 for the unedited model's knowledge of the forget set, 1 for the level of unseen answers.
        kept: in [0, 1]; the probability of held-out retained answers, relative to the unedited model's.
    """

    times: float
    strength: float
    forgotten: float
    kept: float

    @property
    def score(self) -> float:
        """The harmonic mean of ``forgotten`` and ``kept``."""
        return 0.0 if min(self.forgotten, self.kept) <= 0.0 else 2.0 / (1.0 / self.forgotten + 1.0 / self.kept)


class _Judge(NamedTuple):
    """Training examples to choose on, and the unedited model's probabilities."""

    forget: list[Encoded]
    retain: list[Encoded]
    known: float
    unseen: float
    retained: float


@register(
    "engram-automatic",
    "Engram (automatic)",
    OURS,
    draws=True,
    cost="1 forward pass of both sets, and about 20 of 200 examples",
)
class EngramAutomatic(ClosedForm):
    """The ``Steep`` filter with τ and α chosen without a test question, a paraphrase or a gold model.

    The score is Eq. 26, 27 and 29 on training examples: the harmonic mean of what is forgotten and what is kept, both
    from mean probabilities ``P(a|q)^(1/|a|)``. Kept is the held-out retained examples' probability, relative to the
    unedited model's. Forgotten is how far the forget set's probability has moved from the unedited model's to the level
    of unseen answers; overshooting counts against it. A gold model would give that level. Here it comes from the forget
    set's answers swapped between its questions, pairs that the model never learned. It did learn the answers, so this
    is an upper bound: the rule erases too little rather than too much.

    For each τ, α rises until the score has fallen twice. A further round starts from the edited model, and is undone
    unless it raises the score.

    Attributes:
        times: τ to try, in units of n⁺/N.
        strengths: α to try.
        held_out: retained examples, and as many to forget, to choose on.

    Raises:
        ConfigurationError: a value is out of range, or nothing is left to retain.
    """

    times: Sequence[float] = (1.5, 2.0, 2.5, 3.0)
    strengths: Sequence[float] = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
    held_out: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.times or not self.strengths or min(*self.times, *self.strengths) <= 0.0:
            raise ConfigurationError(f"times and strengths are above 0, not {self.times} and {self.strengths}")
        if self.held_out < 1:
            raise ConfigurationError(f"held_out is at least 1, not {self.held_out}")

    def __call__(self, problem: TextProblem) -> nn.Module:
        read, judge = self._prepare(problem)
        model = copy.deepcopy(problem.model).eval()
        best = 0.0
        for _ in range(self.rounds):
            choice, edit = self._choose(model, self.atlas(model, self.moments(model, read)), judge, problem)
            if choice.score <= best:
                break
            best = choice.score
            edit.apply_(model, check=False, tied="untie")
        return model

    def choose(self, problem: TextProblem) -> SteepChoice:
        """The first round's choice."""
        read, judge = self._prepare(problem)
        atlas = self.atlas(problem.model, self.moments(problem.model, read))
        return self._choose(problem.model, atlas, judge, problem)[0]

    def _prepare(self, problem: TextProblem) -> tuple[TextProblem, _Judge]:
        """The problem without the held-out examples, and what to choose on."""
        if len(problem.retain) <= self.held_out:
            raise ConfigurationError(
                f"cannot hold out {self.held_out} of {len(problem.retain)} retained examples; hold out fewer"
            )
        kept = some(problem.retain, self.held_out, problem.seed)
        out = {id(example) for example in kept}
        read = replace(problem, retain=[example for example in problem.retain if id(example) not in out])
        forget = some(problem.forget, self.held_out, problem.seed)
        known, retained, unseen = (
            _probability(problem.model, sequences(problem, examples), problem)
            for examples in (forget, kept, swapped(forget))
        )
        return read, _Judge(sequences(problem, forget), sequences(problem, kept), known, min(unseen, known), retained)

    def _choose(self, model: nn.Module, atlas: Atlas, judge: _Judge, problem: TextProblem) -> tuple[SteepChoice, Edit]:
        best: tuple[SteepChoice, Edit] | None = None
        for times in self.times:
            engram = atlas.engram(FORGET, Steep(times)).materialize()
            for choice in self._rising(model, engram, times, judge, problem):
                if best is None or choice.score > best[0].score:
                    best = choice, -choice.strength * engram
        assert best is not None  # there is at least one of each
        return best

    def _rising(
        self, model: nn.Module, engram: Edit, times: float, judge: _Judge, problem: TextProblem
    ) -> Iterator[SteepChoice]:
        """One choice per strength, until the score has fallen twice or the model breaks."""
        best, falls = 0.0, 0
        for strength in sorted(self.strengths):
            try:
                with (-strength * engram).on(model, check=False, tied="untie"):
                    left = _probability(model, judge.forget, problem)
                    kept = _probability(model, judge.retain, problem) / max(judge.retained, 1e-30)
            except NonFiniteError:
                return
            progress = (judge.known - left) / max(judge.known - judge.unseen, 1e-30)
            choice = SteepChoice(
                times, strength, 1.0 - abs(1.0 - progress) if progress > 1.0 else progress, min(1.0, kept)
            )
            yield choice
            falls += choice.score < best
            best = max(best, choice.score)
            if falls == 2:
                return


def swapped(examples: Sequence[TextExample]) -> list[TextExample]:
    """Each question with another's answer, as far away as possible, because neighbours often share a subject.

    Only questions are kept; with fewer than two, nothing is.
    """
    asked = [example for example in examples if example.form == "question"]
    half = len(asked) // 2
    return [
        TextExample.of_question(one.question, asked[(place + half) % len(asked)].answer, one.where)
        for place, one in enumerate(asked)
        if half
    ]


def _probability(model: nn.Module, rows: Sequence[Encoded], problem: TextProblem) -> float:
    """The mean of ``P(a|q)^(1/|a|)``; 0 without rows.

    Raises:
        NonFiniteError: the edit has broken the model.
    """
    if not rows:
        return 0.0
    found = sequence_log_probabilities(model, rows, problem.tokenizer)
    value = float((found / predicted_tokens(rows).to(found)).exp().mean())
    if not math.isfinite(value):
        raise NonFiniteError("the edit has broken the model: its log-probabilities are NaN")
    return value
