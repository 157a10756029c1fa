"""Sampling many times: the number of samples that a verdict goes by, on models whose knowledge is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny_language
from torch import nn

from mnemotomy.audit.asking import Samples, best_of, chosen
from mnemotomy.audit.base import Case, Interval, Reading, Role
from mnemotomy.audit.statistics import Compared, compare
from mnemotomy.audit.verdict import GONE, LEFT, WEAK
from mnemotomy.core.seeds import mix
from mnemotomy.text.probes import Probe
from mnemotomy.text.template import Template

QUESTIONS, RUNS = 24, 12
SAMPLES = Samples()
HEAVY, LIGHT = (0.3, 4.7), (0.1, 20.0)
"""How likely a guess is right, by question, as a beta distribution: of 16 countries, or of a vocabulary."""


def reading(chances: np.ndarray, guesses: np.ndarray, draws: np.random.Generator) -> Reading:
    """What a model says in 64 samples, each right with these chances: of forgotten and of unseen questions."""
    parts = [(draws.random((len(some), 64)) < some[:, None]).astype(float) for some in (chances, guesses)]
    own, unseen = ({str(k): tuple(best_of(row, k) for row in part.tolist()) for k in SAMPLES.sizes()} for part in parts)
    sizes = {size: (own[size], unseen[size]) for size in own}
    return Reading(own["64"], {}, unseen["64"], sizes=sizes)


def runs(guessing: tuple[float, float], leak: float, *, gold: bool = True) -> list[tuple[str, str]]:
    """What is found by the best of 64 samples, and by the number of samples that is chosen."""
    found = []
    for run in range(RUNS):
        draws = np.random.default_rng(run)

        def guess() -> np.ndarray:
            return draws.beta(*guessing, QUESTIONS)  # noqa: B023

        readings: dict[Role, Reading] = {
            "before": reading(np.full(QUESTIONS, 0.95), guess(), draws),
            "after": reading(1.0 - (1.0 - guess()) * (1.0 - leak), guess(), draws),
        }
        if gold:
            readings["gold"] = reading(guess(), guess(), draws)
        found.append((said_of(compare(readings, run)), said_of(SAMPLES.compared(readings, run))))
    return found


def said_of(one: Compared) -> str:
    if one.trace is None:
        return "nothing"
    return "left" if one.trace.low > LEFT else "gone" if one.trace.high < GONE and one.above >= WEAK else "open"


@pytest.mark.parametrize("gold", [True, False])
def test_guessers_are_found_to_know_nothing_where_guesses_are_often_right(gold: bool) -> None:
    """By the best of 64 samples, this stays open: it says every second answer of a model that never knew them."""
    found = runs(HEAVY, 0.0, gold=gold)
    assert sum(old == "gone" for old, _ in found) < RUNS / 2
    assert sum(new == "gone" for _, new in found) >= RUNS - 2


@pytest.mark.parametrize(("guessing", "leak"), [(LIGHT, 0.02), (LIGHT, 0.05), (HEAVY, 0.1), (HEAVY, 0.3)])
def test_what_one_sample_in_fifty_says_is_still_found(guessing: tuple[float, float], leak: float) -> None:
    found = runs(guessing, leak)
    assert not any(new == "gone" for _, new in found)
    assert all(new == "left" for old, new in found if old == "left")
    assert sum(new == "left" for _, new in found) >= RUNS - 1


def made(at: str, before: float, unknown: tuple[float, float, float], trace: tuple[float, float, float]) -> Compared:
    means = {"before": Interval(before, before, before), "gold": Interval(*unknown)}
    return Compared(means, Interval(*trace), Interval(0.0, 0.0, 0.0), at)


@pytest.mark.parametrize("plain", [True, False])
def test_only_completions_are_sampled_for_fewer_tokens(plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    room = list[int]()

    def keep(model: Any, tokenizer: Any, prompts: list[Any], length: int, **_: Any) -> list[list[str]]:
        room.append(length)
        return [["Japan"] * 64 for _ in prompts]

    monkeypatch.setattr("mnemotomy.audit.writing.continue_tokens", keep)
    probe = Probe("Kyoto lies in", "Japan", Template(plain=plain))
    case = Case(tiny_language.tokenizer(), (probe, replace(probe, question="Osaka lies in")), ())
    SAMPLES.read(nn.Linear(1, 1), case)
    assert room == [1 + SAMPLES.slack if plain else 1 + 20]


FEW = made("1", 0.6, (0.02, 0.0, 0.04), (0.0, -0.05, 0.05))
SOME = made("8", 0.9, (0.1, 0.05, 0.15), (0.0, -0.1, 0.1))
MANY = made("64", 1.0, (0.5, 0.3, 0.7), (0.1, -0.4, 0.5))


def test_the_most_samples_that_tell_knowing_from_guessing_are_taken() -> None:
    assert chosen([FEW, SOME, MANY]).at == "8"
    assert chosen([MANY]).at == "64"


def test_what_is_left_beyond_doubt_counts_at_any_number() -> None:
    assert chosen([FEW, SOME, MANY._replace(trace=Interval(0.5, 0.2, 0.8))]).at == "64"
    assert chosen([FEW._replace(trace=Interval(0.5, 0.4, 0.6)), SOME, MANY]).at == "1"
    assert chosen([FEW, SOME, MANY._replace(trace=Interval(0.5, 0.02, 0.8))]).at == "64"  # more than by guessing


def test_what_the_model_itself_guesses_of_other_questions_counts_beside_a_lucky_gold_model() -> None:
    guesses = SOME._replace(means={**SOME.means, "floor": Interval(0.3, 0.1, 0.5)})
    assert chosen([FEW, guesses, MANY]).at == "1"


def test_few_samples_do_not_make_an_attack_weak_that_need_not_be() -> None:
    rarely = made("1", 0.3, (0.02, 0.0, 0.04), (0.0, -0.05, 0.05))
    assert chosen([rarely, MANY]).at == "64"
    assert chosen([rarely]).at == "1"


def test_each_size_is_read_of_the_forgotten_and_of_other_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = [
        Probe(f"In which country is {city}?", country) for city, country in (("Kyoto", "Japan"), ("Rome", "Italy"))
    ]
    texts = [["Japan", "Italy", "no", "no"], ["no", "no", "no", "Italy"]]
    monkeypatch.setattr(Samples, "write", lambda self, model, case, asked: texts)
    case = Case(tiny_language.tokenizer(None), probes)
    found = Samples(samples=4).read(None, case)  # type: ignore[arg-type]
    assert {size: one[0] for size, one in found.sizes.items()} == {
        "1": (0.25, 0.25), "2": (0.5, 0.5), "4": (1.0, 1.0)
    }  # fmt: skip
    assert found.sizes["2"][1] == (0.5, 0.0)  # Italy to the question about Kyoto, Japan to that about Rome
    assert (found.values, found.floor) == found.sizes["4"]
    assert found.curve == {"1": 0.25, "2": 0.5, "4": 1.0}
    assert found.of("1").values == (0.25, 0.25)


def test_the_sentence_names_the_number_of_samples() -> None:
    readings: dict[Role, Reading] = {
        role: reading(np.full(QUESTIONS, chance), np.full(QUESTIONS, 0.001), np.random.default_rng(mix(0, place)))
        for place, (role, chance) in enumerate((("before", 0.95), ("after", 0.001)))  # type: ignore[misc]
    }
    finding = SAMPLES.find(readings, Case(None, []))
    assert finding.sentence.startswith("By the best of ")
    without = {role: replace(one, sizes={}) for role, one in readings.items()}
    assert SAMPLES.compared(without, 0).at == "64"
