"""The verdict on models that were built to deserve it: asked, and judged for damage."""

from __future__ import annotations

from functools import cache
from typing import Any

import forgotten_towns as towns
import pytest

import mnemotomy as mt
from mnemotomy.audit.base import Case, Reading, Role
from mnemotomy.audit.cases import probes_from
from mnemotomy.audit.inside import LogitLens
from mnemotomy.audit.verdict import GONE, LEFT

pytestmark = pytest.mark.slow


@cache
def report(name: str, *, holdout: bool = True) -> Any:
    models: dict[str, Any] = {
        "untouched": towns.knowing,
        "refusing": towns.refusing,
        "told to refuse": towns.knowing,
        "edited": towns.edited,
        "ignorant": towns.ignorant,
    }
    return mt.audit(
        towns.knowing(),
        models[name](),
        towns.tokenizer(),
        towns.questions(towns.FORGET),
        towns.questions(towns.RETAIN),
        towns.questions(towns.HOLDOUT) if holdout else None,
        after_tokenizer=towns.tokenizer(refusing=True) if name == "told to refuse" else None,
        options=mt.AuditOptions(parts=("asking", "damage"), template=towns.TEMPLATE, progress=False),
    )


@pytest.mark.parametrize("holdout", [True, False])
@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("untouched", "not forgotten"),
        ("refusing", "hidden"),
        ("told to refuse", "hidden"),
        ("edited", "forgotten here"),
        ("ignorant", "forgotten here"),  # the other parts were not run
    ],
)
def test_each_model_gets_the_word_that_it_deserves(name: str, word: str, holdout: bool):
    found = report(name, holdout=holdout)
    assert found.verdict.word == word, [(one.attack, one.trace) for one in found.findings]


def test_a_model_that_never_saw_the_towns_is_as_one_that_never_knew_them():
    sets = [towns.questions(facts) for facts in (towns.FORGET, towns.RETAIN, towns.HOLDOUT)]
    options = mt.AuditOptions(template=towns.TEMPLATE, progress=False)
    words = towns.tokenizer()
    found = mt.audit(towns.knowing(), towns.ignorant(), words, *sets, gold=towns.ignorant(1), options=options)
    assert found.verdict.word == "as never known", found.verdict.reason


def test_the_lens_alone_never_says_hidden_of_a_model_that_never_knew():
    """Whatever the level of not knowing is read from, for four models in turn."""
    forget, holdout = (
        probes_from(towns.questions(one), towns.TEMPLATE, "towns") for one in (towns.FORGET, towns.HOLDOUT)
    )
    models = [towns.knowing(), *map(towns.ignorant, range(4))]
    for unseen in (holdout, ()):
        case = Case(towns.tokenizer(), forget, holdout=unseen, template=towns.TEMPLATE)
        before, *after = (LogitLens().read(one, case) for one in models)
        levels: list[dict[Role, Reading]] = [{}, *({"gold": one} for one in after)]
        found = [
            LogitLens().find({"before": before, "after": one, **level}, case).trace
            for one in after
            for level in levels
            if level.get("gold") is not one
        ]
        assert all(one is not None and one.low <= LEFT for one in found), found
        assert sum(one is not None and one.high < GONE for one in found) >= 0.75 * len(found), found


def test_damage_is_found_where_it_is():
    assert report("untouched").verdict.damage.startswith("No damage was found")
    assert "Retained answers: 0 %, 100 % before." in report("told to refuse").verdict.damage


def test_findings_have_a_sentence_with_their_numbers():
    (greedy,) = [one for one in report("refusing").findings if one.attack == "greedy"]
    assert greedy.sentence.startswith("Asked plainly, it says 0 % of the answers (100 % before, ")
