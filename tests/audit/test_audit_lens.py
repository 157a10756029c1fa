"""The logit lens: which words of an answer count, and that the form of an answer shows no knowledge."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import tiny_language
import torch
from audited import DRAWN, FORGET, case, learned
from torch import nn

from mnemotomy.audit.asking import Greedy
from mnemotomy.audit.base import Case, Finding
from mnemotomy.audit.inside import LogitLens
from mnemotomy.audit.unknown import unknown
from mnemotomy.audit.verdict import GONE, Verdict, verdict
from mnemotomy.audit.weights import Teaching, taught
from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.core.modules import observing
from mnemotomy.text.encoding import encode, encode_answer
from mnemotomy.text.probes import Probe
from mnemotomy.text.template import Template

COUNTRIES = ["Peru", "Chad", "Oman", "Mali", "Cuba", "Iran", "Fiji", "Laos", "Togo", "Guam"]
KINDS = (
    ("In which country is {} ?", "The country is {} ."),
    ("Does {} lie in a country ?", "Yes , that is in {} ."),
    ("{} lies in which country ?", "It lies in {} ."),
    ("country of {} :", "Located in {} ."),
)
"""Questions of four kinds; how an answer begins follows from the kind alone."""


def asked(towns: list[str]) -> list[Probe]:
    """One question about each town, of the four kinds in turn."""
    plain, found = Template(plain=True), []
    for number, town in enumerate(towns):
        question, answer = KINDS[number % len(KINDS)]
        found.append(Probe(question.format(town), answer.format(random.Random(town).choice(COUNTRIES)), plain))
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, nn.Module, Any]:
    """A model that knows 36 towns, one that never saw 24 of them but knows the kinds of answer, and the tokenizer."""
    folder = tmp_path_factory.mktemp("forms")
    tiny_language.save_llama(folder, initializer_range=0.1, hidden_size=64, intermediate_size=128)
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    found = []
    for towns in (DRAWN[:36], DRAWN[24:36]):
        rows = [encode(one.example, tokenizer, one.template) for one in asked(towns)]
        found.append(taught(model, rows, tokenizer, Teaching(250, 4e-3, batch_size=36)))
    return found[0], found[1], tokenizer


def judged(before: nn.Module, after: nn.Module, case: Case) -> tuple[Verdict, Finding]:
    """The verdict by asking and the lens alone, and the lens' finding."""
    found = [
        one.find({"before": one.read(before, case), "after": one.read(after, case)}, case)
        for one in (Greedy(), LogitLens())
    ]
    return verdict(found, yardstick=False), found[1]


@pytest.mark.parametrize("holdout", [False, True], ids=["no hold-out", "hold-out"])
def test_how_answers_begin_is_no_knowledge(world: Any, holdout: bool):
    """A model that never knew the towns, but how each kind of question is answered, does not hide them."""
    before, ignorant, tokenizer = world
    towns = Case(tokenizer, asked(DRAWN[:24]), holdout=asked(DRAWN[36:]) if holdout else ())
    found, lens = judged(before, ignorant, towns)
    assert lens.means["before"].value > 0.9
    assert lens.means["after"].value < lens.means["floor"].value + 0.1
    assert lens.trace is not None
    assert lens.trace.high < GONE
    assert found.word == "forgotten here", found.reason


def test_an_answer_behind_its_form_is_found(world: Any):
    """The last block alone says something else; the lens reads the answers at the one before."""
    before, _, tokenizer = world
    model: Any = copy.deepcopy(before)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.mul_(-2.0)
    found, lens = judged(before, model, Case(tokenizer, asked(DRAWN[:24])))
    assert found.word == "hidden", lens.trace


def ranks(model: nn.Module, probe: Probe, words: Sequence[str]) -> list[int]:
    """The rank of the worst token of each word at the last block, by one pass over the whole text."""
    tokenizer = learned()[1]
    row = encode_answer(tokenizer, probe.question, probe.answer, probe.template)
    with observing(model):
        logits = model(torch.tensor([row.input_ids])).logits[0]
    found, place = [], row.start
    for word in words:
        written, worst = "", 0
        while written.strip() != word:
            if not word.startswith(written.strip()):
                written, worst = "", 0  # the token was of what stands before the word
            token = row.input_ids[place]
            written += tokenizer.decode([token])
            worst = max(worst, int((logits[place - 1] > logits[place - 1, token]).sum()) + 1 if written.strip() else 0)
            place += 1
        found.append(worst)
    return found


def test_a_short_answer_counts_by_its_worst_word_and_of_a_long_one_all_words():
    model, towns = learned()[0], FORGET[0].question.split()[0]
    short = replace(FORGET[0], answer=f"{towns} lies in Japan , Rome of Italy")
    long = replace(FORGET[1], answer="Italy , Japan , Kyoto , Paris and Rome , Japan")
    first, second = (
        ranks(model, short, ["Japan", "Rome", "Italy"]),
        ranks(model, long, ["Italy", "Japan", "Kyoto", "Paris", "Rome"]),
    )
    found = LogitLens().read(model, case(forget=[short, long], holdout=()))
    expected = (1.0 / max(first) + sum(1.0 / rank for rank in second) / 5) / 2
    assert found.curve["block 2"] == pytest.approx(expected)
    few = LogitLens(words=5).read(model, case(forget=[long, short], holdout=()))
    assert few.curve == pytest.approx(found.curve)
    assert found.shown[0]["found"].count(", ") == 2


def test_an_answer_without_words_is_read_whole():
    odd = [replace(one, answer=answer) for one, answer in zip(FORGET, ("?!", ". ?", "!"), strict=False)]
    assert len(LogitLens().read(learned()[0], case(forget=odd, holdout=())).values) == 3


@pytest.mark.parametrize("holdout", [False, True], ids=["no hold-out", "hold-out"])
def test_the_floor_has_the_same_beginnings(holdout: bool):
    """And every telling word as often as the forgotten answers: how frequent it is shows no knowledge."""
    towns, others = asked(DRAWN[:24]), asked([f"new{town}" for town in DRAWN[:24]])
    levels = unknown(Case(learned()[1], towns, holdout=others if holdout else ()), towns, 4, framed=True)
    assert len(levels) == 4
    for level in levels:
        for own, other in zip(others if holdout else towns, level, strict=True):
            assert own.answer.rpartition(" in ")[0] == other.answer.rpartition(" in ")[0]
        assert sorted(other.answer.split()[-2] for other in level) == sorted(own.answer.split()[-2] for own in towns)


def test_a_deep_model_is_read_at_some_of_its_blocks():
    words = LogitLens(blocks=1).read(learned()[0], case())
    whole = LogitLens().read(learned()[0], case())
    assert words.curve == {"block 2": whole.curve["block 2"]}
    assert words.shown[0]["found"].startswith("ranks at block 2: ")
