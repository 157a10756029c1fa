"""Whether the end token belongs to an answer: what the model expects decides, and short facts can be forgotten."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import same_state, state_of
from tiny_language import save_llama
from tiny_problem import by_heart

from mnemotomy.core.errors import ConfigurationError
from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.methods.language.predictions import sequence_log_probabilities
from mnemotomy.methods.language.problem import TextProblem, answered, sequences
from mnemotomy.methods.language.target_level import answer_levels, estimated_level, losses, questions_level
from mnemotomy.methods.language.two_sided import TwoSided
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import Template

CITIES = {"Kyoto": "Japan", "Rome": "Italy", "Paris": "France", "Lima": "Peru", "Oslo": "Norway", "Cairo": "Egypt"}
FORMS = ("{} lies in the country of", "the country in which {} lies is")
FACTS = [TextExample.of_question(form.format(city), country) for city, country in CITIES.items() for form in FORMS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("model"), template=None)


def learned(folder: Path, *, ends: bool) -> TextProblem:
    """A model that knows the facts, as texts that go on after an answer or end there."""
    problem = TextProblem(load_model(folder), load_tokenizer(folder), FACTS[:2], FACTS[2:], Template(plain=True))
    texts = [TextExample.of_question(one.question, one.answer + ("" if ends else " and so on .")) for one in FACTS]
    rows = sequences(replace(problem, end_token=ends), texts)
    return by_heart(problem, rows)


@pytest.fixture(scope="module")
def continuing(folder: Path) -> TextProblem:
    return learned(folder, ends=False)


@pytest.fixture(scope="module")
def ending(folder: Path) -> TextProblem:
    return learned(folder, ends=True)


def test_the_model_says_whether_answers_end(continuing: TextProblem, ending: TextProblem):
    eos = ending.tokenizer.eos_token_id
    assert ending.ending.counts
    assert (ending.ending.loss or 0.0) < 0.5
    assert not continuing.ending.counts
    assert (
        (continuing.ending.loss or 0.0)
        > (continuing.ending.limit or 0.0)
        == pytest.approx(0.5 * math.log(len(ending.tokenizer)), abs=1e-3)
    )
    assert all(row.input_ids[-1] == row.labels[-1] == eos for row in sequences(ending, FACTS))
    assert all(eos not in row.input_ids for row in sequences(continuing, FACTS))
    assert eos not in answered(continuing, "Rome", "Italy").labels
    for setting in (True, False):
        found = replace(continuing, end_token=setting)
        assert found.ending.describe() == {"setting": setting, "counts": setting, "loss": None, "limit": None}
        assert (eos in sequences(found, FACTS)[0].labels) == setting
    texts = replace(continuing, forget=[TextExample.of_text("Rome")], retain=[TextExample.of_text("Paris")])
    assert texts.ending.loss is None


def test_an_answers_level_is_its_probability_after_other_questions(continuing: TextProblem):
    found = answer_levels(continuing, 200)
    assert set(found) == {"Japan"}
    logs = torch.cat([
        sequence_log_probabilities(
            continuing.model, [answered(continuing, one.question, "Japan")], continuing.tokenizer
        )
        for one in FACTS[2:]
    ])  # fmt: skip
    length = len(answered(continuing, "Rome", "Japan").answer)
    assert found["Japan"] == pytest.approx(-float(logs.exp().mean().log()) / length, rel=1e-4)
    level = estimated_level(continuing, 20)
    assert (level.start, level.answers) == (pytest.approx(found["Japan"]), found)
    assert level.of([*continuing.forget, TextExample.of_text("x")]).tolist() == [level.start] * 3
    with pytest.raises(ConfigurationError, match="give level, in nats"):
        estimated_level(replace(continuing, retain=[TextExample.of_text("Rome")]), 20)


def test_a_model_that_ends_its_answers_has_one_level_for_all(ending: TextProblem):
    level = estimated_level(ending, 20)
    assert level.answers == {}
    assert level.start == questions_level(ending, 200)


def test_two_sided_forgets_short_facts_of_a_model_that_does_not_end_them(continuing: TextProblem):
    """Counted into the loss, the end token hid the answer: every level was passed before the edit."""
    with pytest.raises(ConfigurationError, match="has passed the level"):
        TwoSided(level=3.0)(replace(continuing, end_token=True))
    state = state_of(continuing.model)
    edited = TwoSided(evaluations=20)(continuing)
    assert same_state(continuing.model, state)
    before, after = (
        [float(losses(model, sequences(continuing, some), continuing).mean()) for some in (FACTS[:2], FACTS[2:])]
        for model in (continuing.model, edited)
    )
    assert before[0] < 0.1
    assert after[0] > 3.0
    assert after[1] < before[1] + 1.0
