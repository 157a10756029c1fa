"""A hold-out that is not like the forget set, or that the model before knows."""

from __future__ import annotations

import functools
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from audited import COUNTRIES, FORGET, HOLDOUT, RETAIN, TEMPLATE
from tiny_language import save_llama

import mnemotomy as mt
from mnemotomy.audit.asking import Greedy, Samples
from mnemotomy.audit.base import Case, Finding, Interval, Likeness
from mnemotomy.audit.holdout import OtherAnswers
from mnemotomy.audit.options import AuditOptions
from mnemotomy.audit.reading import Reader
from mnemotomy.audit.statistics import alike
from mnemotomy.audit.verdict import verdict
from mnemotomy.audit.weights import Teaching, taught
from mnemotomy.core.errors import DataError
from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.text.encoding import encode
from mnemotomy.text.probes import Probe

HARDER = [replace(one, answer=("zorp", "quiv")[place % 2]) for place, one in enumerate(HOLDOUT)]
KNOWN = {one.question: one.answer for one in (*FORGET, *RETAIN)}


@functools.cache
def model(seed: int = 0) -> tuple[Any, Any]:
    with tempfile.TemporaryDirectory() as folder:
        save_llama(Path(folder), seed=seed, initializer_range=0.1)
        return load_model(folder), load_tokenizer(folder)


def audited(monkeypatch: pytest.MonkeyPatch, holdout: Sequence[Probe], retain: Sequence[Probe] = RETAIN) -> Any:
    """Of a model that never knew what it is said to have forgotten, and guesses one of three countries."""

    def write(self: Greedy, asks: Any, case: Case, asked: Sequence[Any]) -> list[list[str]]:
        guesses = [COUNTRIES[random.Random(one.probe.question).randrange(3)] for one in asked]
        known = KNOWN if asks is model()[0] else {}
        return [[known.get(one.probe.question, guess)] for one, guess in zip(asked, guesses, strict=True)]

    monkeypatch.setattr(Greedy, "write", write)
    options = AuditOptions(parts=("greedy",), template=TEMPLATE, progress=False)
    return mt.audit(model()[0], model(1)[0], model()[1], FORGET, retain, holdout, options=options)


def test_a_harder_hold_out_is_named_where_the_verdict_hangs_on_it(monkeypatch: pytest.MonkeyPatch):
    found = audited(monkeypatch, HARDER)
    assert found.verdict.word == "not forgotten"  # it never knew: the level of not knowing is too low
    reason = found.verdict.reason
    assert "The hold-out is harder than the forget set, so 'not forgotten' may be wrong: of answers to" in reason
    assert "% in the forget set and 0 % in the hold-out. Write a hold-out of the same form" in reason
    assert found.json()["findings"][0]["likeness"]["gap"]["low"] > 0.0


def test_a_hold_out_of_the_same_form_is_not(monkeypatch: pytest.MonkeyPatch):
    found = audited(monkeypatch, HOLDOUT)
    assert found.verdict.word != "not forgotten"
    assert "The hold-out is" not in found.verdict.reason


def test_a_hold_out_that_the_model_before_knows_is_refused(monkeypatch: pytest.MonkeyPatch):
    message = (
        r"answers 100 % of the hold-out \(0 % by guessing\).*leave out the 20 questions .*: '... lies in', .* \.\.\.$"
    )
    with pytest.raises(DataError, match=message):
        audited(monkeypatch, RETAIN, HOLDOUT)


def test_answers_to_other_questions_tell_the_form_of_a_set():
    """Nothing links them to their questions, so that of two sets of one form as much is predicted."""
    tokenizer, known = model()[1], [*FORGET, *RETAIN]
    some = taught(
        model()[0], [encode(one.example, tokenizer, TEMPLATE) for one in known], tokenizer, Teaching(20, 1e-2)
    )
    same, harder = (Case(tokenizer, FORGET, holdout=one, template=TEMPLATE) for one in (HOLDOUT, HARDER))
    one, other = (alike(found.values, found.floor) for found in (OtherAnswers().read(some, c) for c in (same, harder)))
    assert one.gap.low < 0.0 < one.gap.high
    assert other.gap.low > 0.1
    unlike = replace(same, holdout=[replace(probe, answer="zorp") for probe in HOLDOUT])
    assert OtherAnswers().lacks(unlike) == "needs different answers in both sets"


def test_a_hold_out_is_asked_by_itself(monkeypatch: pytest.MonkeyPatch):
    """Its numbers are the floor, at every number of samples; those of answers to other questions are kept beside."""

    def write(self: Samples, model: Any, case: Any, asked: Sequence[Any]) -> list[list[str]]:
        return [[one.probe.answer if one.probe in FORGET else "France"] * 2 for one in asked]

    monkeypatch.setattr(Samples, "write", write)
    case = Case(model()[1], FORGET, RETAIN, HOLDOUT, template=TEMPLATE)
    reader = Reader({"before": model()[0]}, {"before": ""}, AuditOptions(), lambda case: "")
    found = reader.reading(Samples(samples=2), "before", case)
    guessed = tuple(float(one.answer == "France") for one in HOLDOUT)
    assert (found.values, found.floor) == ((1.0,) * len(FORGET), guessed)
    assert found.of("1").floor == guessed
    own, unseen = found.of("1").other
    assert set(own) == {0.0}
    assert 0.0 < sum(unseen) / len(unseen) < 1.0


def finding(attack: str, low: float, gap: tuple[float, float, float] | None, **means: float) -> Finding:
    like = None if gap is None else Likeness(0.4, 0.4 - gap[0], Interval(*gap))
    spread = {role: Interval(value, value - 0.1, value + 0.1) for role, value in means.items()}
    trace = Interval(low + 0.15, low, low + 0.3)
    part = "asking" if attack == "greedy" else "relearn"
    return Finding(attack, attack, part, "", "share", spread, trace, f"{attack}.", likeness=like)  # type: ignore[arg-type]


HARD, EASY, OPEN = (0.15, 0.1, 0.2), (-0.2, -0.3, -0.1), (0.15, -0.1, 0.4)
MEANS = {"before": 0.9, "after": 0.4, "floor": 0.2}
PLAIN = finding("greedy", -0.1, None)


@pytest.mark.parametrize(
    ("others", "word", "told", "hangs"),
    [
        ([finding("five", 0.2, HARD, **MEANS)], "hidden", "harder", True),
        ([finding("five", 0.2, OPEN, **MEANS)], "hidden", "", False),
        ([finding("five", 0.7, HARD, **MEANS)], "hidden", "harder", False),  # more than the form explains
        ([finding("five", 0.2, HARD, **MEANS), finding("one", 0.3, None)], "hidden", "harder", False),
        ([finding("five", 0.0, HARD, **MEANS)], "forgotten here", "harder", False),  # the more so
        ([finding("five", 0.0, EASY, **MEANS)], "forgotten here", "easier", True),
        ([finding("five", -0.4, EASY, **MEANS)], "forgotten here", "easier", False),
    ],
)
def test_the_verdict_says_whether_it_hangs_on_the_form_of_the_hold_out(
    others: list[Finding], word: str, told: str, hangs: bool
):
    found = verdict([PLAIN, *others], yardstick=True)
    assert found.word == word
    may = f"so {word!r} may be wrong" if hangs else f"which moves single numbers, but would not turn {word!r}"
    assert (f"The hold-out is {told} than the forget set, {may}" in found.reason) == bool(told)
    assert ("The hold-out" in found.reason) == bool(told)


def test_a_hold_out_as_easy_as_what_was_known_is_named():
    """Where the model before is not above the floor, there is no trace, and nothing else would say why."""
    blind = replace(finding("five", 0.0, EASY, before=0.95, after=0.9, floor=0.95), trace=None)
    reason = verdict([PLAIN, blind], yardstick=True).reason
    assert "the model predicts 40 % in the forget set and 60 % in the hold-out" in reason
