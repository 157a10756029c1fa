"""Membership inference against a model that never learned the forget set, with a hold-out and without."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from audited import FORGET, HOLDOUT, case, learned
from tiny_language import tokenizer

from mnemotomy.audit.base import AUC, Case
from mnemotomy.audit.membership import Loss, Membership, MinK, MinKPlusPlus, Zlib
from mnemotomy.audit.observing import answer_scores
from mnemotomy.audit.options import AuditOptions
from mnemotomy.audit.reading import Reader
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.metrics.tofu.answers import average_loss
from mnemotomy.text.probes import Probe
from mnemotomy.text.template import Template

ATTACKS = [Loss(), Zlib(), MinK(), MinKPlusPlus()]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.name)
@pytest.mark.parametrize("changes", [{}, {"holdout": ()}], ids=["hold-out", "swapped answers"])
def test_the_untouched_model_betrays_its_training_and_the_ignorant_one_does_not(
    attack: Membership, changes: dict[str, Any]
):
    asked = case(**changes)
    before, gold = learned()[0], learned(False)[0]
    mark = fingerprint(before)
    readings = {"before": attack.read(before, asked), "after": attack.read(gold, asked)}
    assert fingerprint(before) == mark
    assert attack.read(before, asked) == readings["before"]
    assert attack.lacks(asked) is None
    found = attack.find(readings, asked)
    assert found.means["before"].value > 0.7
    assert found.means["after"].value < 0.7
    assert found.means["floor"].value == 0.5
    if changes:  # against the same answers elsewhere, nothing but knowledge counts
        assert found.means["before"].value > 0.95
        assert found.trace is not None
        assert found.trace.low < 0.1
        assert found.trace.value < 0.6
        same = attack.find(readings | {"after": readings["before"]}, asked)
        assert same.trace == pytest.approx((1.0, 1.0, 1.0), abs=1e-4)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.name)
@pytest.mark.parametrize("holdout", [True, False], ids=["hold-out", "swapped answers"])
def test_an_ignorant_model_has_an_auc_of_a_half(attack: Membership, holdout: bool):
    """Twenty questions give it ± 0.08, so their answers are dealt twenty times."""
    found = []
    for seed in range(20):
        sets = []
        for number, part in enumerate((FORGET, HOLDOUT)):
            answers = random.Random(2 * seed + number).sample([one.answer for one in part], len(part))
            sets.append([replace(one, answer=answer) for one, answer in zip(part, answers, strict=True)])
        asked = case(forget=sets[0], holdout=sets[1] if holdout else ())
        reading = attack.read(learned(False)[0], asked)
        found.append(attack.find({"before": reading, "after": reading}, asked).means["after"].value)
    assert sum(found) / len(found) == pytest.approx(0.5, abs=0.06)


def test_the_gold_model_is_the_yardstick():
    asked, attack = case(holdout=()), Loss()
    read = {name: attack.read(learned(name == "before")[0], asked) for name in ("before", "after", "gold")}
    found = attack.find(read, asked)
    assert found.trace == pytest.approx((0.0, 0.0, 0.0))


def test_swapped_answers_that_give_themselves_away_are_refused():
    named = [Probe(f"Who is {name} Smith?", f"{name} Smith is a writer.", Template()) for name in ("Alice", "Robert")]
    assert "repeat words of their questions" in (Loss().lacks(case(forget=named, holdout=())) or "")
    assert Loss().lacks(case(forget=named, holdout=HOLDOUT)) is None
    texts = [Probe("Once there", f"was a {word} in the woods", Template(plain=True)) for word in ("fox", "dog")]
    assert "does not fit" in (Loss().lacks(case(forget=texts, holdout=())) or "")
    assert "never learned" in (Loss().lacks(case(forget=FORGET[:1], holdout=())) or "")


def test_the_text_around_an_answer_does_not_count():
    """With a chat template, neither the header of the assistant's turn nor what ends it is part of the answer."""
    model, words = learned()[0], tokenizer()
    probe = Probe("In which country is Kyoto?", "Japan", Template(system=None, date=None))
    found = answer_scores(model, Case(words, [probe]), [probe], lambda seen: average_loss(seen, end=False))
    prompt = "<bos><|im_start|>user\nIn which country is Kyoto?<|im_end|>\n<|im_start|>assistant\n"
    before = words(prompt, add_special_tokens=False)["input_ids"]
    answer = words("Japan", add_special_tokens=False)["input_ids"]
    logits = model(input_ids=torch.tensor([before + answer])).logits[0].log_softmax(-1)
    expected = -logits[torch.arange(len(answer)) + len(before) - 1, torch.tensor(answer)].mean()
    assert found[0] == pytest.approx(float(expected.detach()), abs=1e-5)


def test_each_sentence_names_its_attack_and_the_first_says_what_an_auc_is():
    asked = case()
    models = {"before": learned()[0], "after": learned(False)[0]}
    reader = Reader(models, {"before": "1", "after": "2"}, AuditOptions(progress=False), repr)
    found, skipped = reader.findings(ATTACKS, asked)
    assert not skipped
    sentences = [one.sentence for one in found]
    assert len(set(sentences)) == len(ATTACKS)
    for attack, sentence in zip(ATTACKS, sentences, strict=True):
        assert sentence.startswith(f"{attack.title}: an attacker who reads how likely the answers")
        assert re.search(r"with an AUC of \d+ % \(", sentence)
    assert [AUC in one for one in sentences] == [True, False, False, False]
    assert "at 50 % it cannot tell them apart, at 100 % it always can" in AUC


def test_what_was_not_run_is_named_in_words_with_what_the_user_types():
    reader = Reader(
        {"before": learned()[0], "after": learned()[0]}, {"before": "1", "after": "1"}, AuditOptions(), repr
    )
    _, skipped = reader.findings([Loss(), Zlib()], case(forget=FORGET[:1], holdout=()))
    (note,) = [one for one in reader.notes(skipped) if one.startswith("Not run")]
    assert note.startswith(
        "Not run: Membership by loss (membership-loss), Membership by zlib (membership-zlib). Reason: needs a hold-out"
    )
