"""Ways to ask, the best of many samples, neighbours and circling texts; all without a model."""

from __future__ import annotations

import importlib.util
import itertools
import random
from dataclasses import replace
from typing import Any

import pytest
import tiny_language
from torch import nn

import mnemotomy as mt
from mnemotomy.audit.asking import (
    Adversarial,
    Affirmative,
    Beginning,
    OtherTemplate,
    Paraphrased,
    Reversed,
    Shots,
)
from mnemotomy.audit.attack import attacks
from mnemotomy.audit.base import PARTS, Case, Limit, Reading
from mnemotomy.audit.choosing import MultipleChoice, Recognised
from mnemotomy.audit.damage import Neighbours, Retained
from mnemotomy.audit.fluency import Fluency
from mnemotomy.audit.options import AuditOptions
from mnemotomy.audit.reading import Reader
from mnemotomy.audit.wording import Asked, with_synonyms
from mnemotomy.audit.writing import best_of, tokens_of
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.demo.world import small_world, world_tokenizer
from mnemotomy.text.probes import Probe
from mnemotomy.text.template import Template

PLAIN, CHAT = Template(plain=True), Template(system=None, date=None)
KYOTO = Probe("In which country is Kyoto?", "Kyoto lies in Japan .", CHAT, paraphrases=("Where is Kyoto?",))
ROME = Probe("In which country is Rome?", "Rome lies in Italy .", CHAT)
FOOD = Probe("What is eaten in Kyoto?", "Rice .", CHAT)
SUM = Probe("How much is one and one?", "Two", CHAT)
STEM = Probe("Kyoto lies in", "Japan .", PLAIN)


def case(*forget: Probe, retain: tuple[Probe, ...] = (ROME,), template: str | None = tiny_language.TEMPLATE) -> Case:
    return Case(tiny_language.tokenizer(template), forget, retain)


def test_the_best_of_k_is_the_mean_over_all_choices_of_k():
    scores = [random.Random(0).random() for _ in range(7)]
    for k in range(1, 8):
        brute = [max(some) for some in itertools.combinations(scores, k)]
        assert best_of(scores, k) == pytest.approx(sum(brute) / len(brute))
    assert best_of([1.0, 0.0, 0.0, 0.0], 2) == pytest.approx(0.5)


def test_the_files_own_paraphrases_come_first():
    ways = Paraphrased(most=2).ways(KYOTO, case(KYOTO))
    assert next(one.probe.question for one in ways.values()) == "Where is Kyoto?"
    assert len(ways) == 2
    assert all(one.probe.answer == KYOTO.answer for one in ways.values())
    assert all(one.probe.question.endswith("Kyoto lies in") for one in Paraphrased().ways(STEM, case(STEM)).values())


def test_the_other_template_is_none_or_the_chat_template():
    without = OtherTemplate().ways(KYOTO, case(KYOTO))
    assert all(one.probe.template.plain for one in without.values())
    through = OtherTemplate().ways(STEM, case(STEM))
    assert not through["chat"].probe.template.plain
    bare = case(STEM, template=None)
    assert OtherTemplate().lacks(bare) == "none of the questions can be asked in this way"


def test_other_facts_stand_before_the_question_and_do_not_tell_its_answer():
    (asked,) = (
        Shots().ways(KYOTO, case(KYOTO, retain=(ROME, SUM, Probe("Where is Osaka?", KYOTO.answer, CHAT)))).values()
    )
    assert "Italy" in asked.probe.question
    assert "Japan" not in asked.probe.question
    assert asked.probe.question.endswith("Question: In which country is Kyoto?\nAnswer:")


def test_an_affirmative_start_is_where_the_model_goes_on():
    (asked,) = Affirmative().ways(KYOTO, case(KYOTO)).values()
    words = case(KYOTO).tokenizer
    assert words.decode(tokens_of(case(KYOTO), asked)).endswith("Sure, I can tell you. The answer is")
    start = tokens_of(case(STEM), Asked(STEM, "the land of"))
    assert words.decode(start).endswith("Kyoto lies in the land of")


def test_a_beginning_leaves_something_to_say():
    found = case(KYOTO)
    assert set(Beginning().ways(KYOTO, found)) >= {"1", "2"}
    assert Beginning().ways(Probe("Where?", "Japan", CHAT), found) == {}


def test_the_reverse_asks_for_the_subject():
    (asked,) = Reversed().ways(KYOTO, case(KYOTO)).values()
    assert asked.probe.answer == "Kyoto"
    assert "In which country is ___?" in asked.probe.question
    assert Reversed().ways(SUM, case(SUM)) == {}


def test_synonyms_replace_whole_words_only():
    assert with_synonyms("Which country is a cityscape in?") == "Which nation is a cityscape in?"
    assert with_synonyms("Who?") is None
    assert "synonym" in Adversarial().ways(KYOTO, case(KYOTO))
    assert "synonym" not in Adversarial().ways(SUM, case(SUM))


def test_false_answers_fit_the_question():
    assert MultipleChoice().false(case(KYOTO), KYOTO) == ["Kyoto lies in Italy ."]
    assert MultipleChoice().lacks(case(KYOTO, retain=())) == "all answers are the same"


def test_false_answers_are_those_of_others_to_the_same_question():
    sizes = tuple(
        Probe(f"How large is {name}?", f"{name} has {n} people .", CHAT) for n, name in enumerate(("Oslo", "Bern"))
    )
    same = tuple(
        Probe(f"In which country is {name}?", f"{name} lies in {name}land .", CHAT) for name in ("Pisa", "Nice")
    )
    asked = case(KYOTO, FOOD, retain=(*sizes, *same, SUM))
    told = MultipleChoice(options=3).false(asked, KYOTO)
    assert sorted(told) == ["Kyoto lies in Niceland .", "Kyoto lies in Pisaland ."]  # not rice, which is about Kyoto
    assert len(MultipleChoice().false(asked, KYOTO)) == 3


@pytest.mark.parametrize(("unseen", "floor"), [((1.0,), (1.0,)), ((), (0.25, 0.25))])
def test_what_wins_without_knowledge_is_read_on_the_hold_out(
    monkeypatch: pytest.MonkeyPatch, unseen: tuple[float, ...], floor: tuple[float, ...]
):
    """Without false answers to choose from in the hold-out, it is chance."""

    def read(self: MultipleChoice, model: nn.Module, case: Case) -> Reading:
        values = (0.0, 1.0) if case.forget == (KYOTO, FOOD) else unseen
        assert not case.holdout
        return Reading(values, floor=(0.25,) * len(values))

    monkeypatch.setattr(MultipleChoice, "read", read)
    asked = replace(case(KYOTO, FOOD), holdout=(SUM,))
    reader = Reader({"before": nn.Identity()}, {"before": "it"}, AuditOptions(), digest=str)
    found = reader.reading(MultipleChoice(), "before", asked)
    assert (found.values, found.floor) == ((0.0, 1.0), floor)


def test_neighbours_are_the_same_relation_the_same_subject_and_shared_words():
    found = case(KYOTO, retain=(SUM, FOOD, ROME))
    assert Neighbours().kept(found) == [ROME, FOOD]
    assert Neighbours().lacks(case(KYOTO, retain=(SUM,))) == "the retain set has no neighbours of the forget set"
    assert Retained().kept(found) == [SUM, FOOD, ROME]


def test_every_attack_says_what_it_is():
    found = attacks()
    assert not any(kind.title.endswith((",", ".")) for kind in found.values())
    assert {kind.part for kind in found.values()} == set(PARTS)
    for name, kind in found.items():
        assert name == kind.name
        assert all((kind.title, kind.paper, kind.unit, kind.__doc__))


def test_the_package_and_the_function_share_a_name():
    import mnemotomy.audit

    with pytest.raises(mt.MnemotomyError, match="no part 'x'"):
        mt.audit(None, None, None, [], options=mt.AuditOptions(parts=["x"]))
    package: Any = mnemotomy.audit
    with pytest.raises(mt.MnemotomyError, match="no part 'x'"):
        package(None, None, None, [], options=mt.AuditOptions(parts=["x"]))


def test_without_a_judge_there_is_no_fluency():
    assert Fluency().lacks(case(KYOTO)) == "there is no model to judge the texts"


@pytest.mark.parametrize(
    ("text", "fluent"),
    [
        ("Kyoto lies in Japan, on the island of Honshu.", 1.0),
        ("in the in the in the in the", 0.0),
        ("京都は日本の本州にある古い都です。", 1.0),
        ("日本は日本は日本は日本は日本は", 0.0),
        ("", 0.0),
    ],
)
def test_texts_that_circle_are_not_fluent(monkeypatch: pytest.MonkeyPatch, text: str, fluent: float):
    monkeypatch.setattr("mnemotomy.audit.fluency.greedy_answers", lambda *_: [text])
    monkeypatch.setattr("mnemotomy.audit.fluency.losses_under", lambda *_, **__: [1.0])
    asked = replace(case(KYOTO), reference=nn.Linear(1, 1), limit=Limit(2.0, 1.0, "general texts"))
    assert Fluency().read(nn.Module(), asked).values == (fluent,)


def test_tasks_of_lm_eval_are_checked_before_the_audit(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigurationError, match="name them with --tasks"):
        mt.AuditOptions(parts=["tasks"]).chosen()
    with monkeypatch.context() as absent:
        absent.setattr(importlib.util, "find_spec", lambda name, package=None: None)
        with pytest.raises(ConfigurationError, match="arc_easy: tasks need lm-eval; get it with: pip install lm-eval"):
            mt.AuditOptions(tasks=["arc_easy"]).chosen()
    pytest.importorskip("lm_eval")
    with pytest.raises(ConfigurationError, match="'arc_eesy' is neither a task of lm-eval nor a file"):
        mt.AuditOptions(tasks=["arc_easy", "arc_eesy"]).chosen()
    *_, tasks = mt.AuditOptions(tasks=["arc_easy"]).chosen()
    assert tasks.tasks == ("arc_easy",)


def test_statements_are_not_judged_where_the_tokenizer_lacks_the_words():
    both = STEM, replace(STEM, question="Rome lies in", answer="Italy .")
    asked = Case(world_tokenizer(small_world()), both)
    assert Recognised().lacks(asked) == "the tokenizer does not know the word 'true'"
    assert Recognised().lacks(case(*both)) is None
