"""A forget set that the model hardly knows is named before the search."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
from learned_cities import TEMPLATE, example, examples, trained

import mnemotomy as mt
from mnemotomy.forget import forgetting, knowledge
from mnemotomy.forget.knowledge import answers_known, known_share, unknown_concern
from mnemotomy.text.probes import Probe
from mnemotomy.text.records import TextExample

KYOTO = examples(["Kyoto"])
UNKNOWN = [example("In which country is Oslo?", "Norway"), example("Lima lies in which country?", "Peru")]


def test_what_is_known_in_this_template_raises_no_concern() -> None:
    model, tokenizer = trained()
    assert unknown_concern(model, tokenizer, KYOTO, TEMPLATE) is None


def test_the_other_template_is_named_where_the_answers_are_known_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = trained()
    plain = replace(TEMPLATE, plain=True)
    shares = [
        known_share(model, tokenizer, [Probe(one.question, one.answer, around) for one in KYOTO])
        for around in (plain, TEMPLATE)
    ]
    monkeypatch.setattr(knowledge, "KNOWN", sum(shares) / 2)
    concern = unknown_concern(model, tokenizer, KYOTO, plain)
    assert concern is not None
    assert f"the mean probability of the answers is {shares[0]:.2f}" in concern
    assert concern.endswith(f"without --plain, it is {shares[1]:.2f}")


def test_the_file_is_to_be_checked_where_nothing_is_known() -> None:
    model, tokenizer = trained()
    concern = unknown_concern(model, tokenizer, UNKNOWN, TEMPLATE)
    assert concern is not None
    assert "check the questions and answers of the file" in concern


def test_plain_texts_are_hard_to_guess_and_do_not_count() -> None:
    model, tokenizer = trained()
    assert unknown_concern(model, tokenizer, [TextExample.of_text("Oslo lies in Norway .", "here")], TEMPLATE) is None


def test_how_many_answers_are_said_is_told_as_an_audit_counts_them() -> None:
    model, tokenizer = trained()
    told = answers_known(model, tokenizer, [*KYOTO, KYOTO[0], *UNKNOWN], TEMPLATE, precision="no")
    assert told is not None
    assert told.startswith("asked plainly, the model says 2 of 4 answers. An audit needs about 25 that it says")
    assert "mnemotomy chat MODEL --write FILE" in told
    assert answers_known(model, tokenizer, [TextExample.of_text("Oslo lies in Norway .", "here")], TEMPLATE) is None


def test_answers_that_were_drawn_are_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "MOST_FORGET", 1)
    told = answers_known(*trained(), KYOTO, TEMPLATE)
    assert told is not None
    assert told.startswith("asked plainly, the model says 1 of 1 answers, which were drawn from 2 lines. An audit")


def test_enough_answers_need_no_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "FEW", 2)
    model, tokenizer = trained()
    assert answers_known(model, tokenizer, KYOTO, TEMPLATE) == "asked plainly, the model says 2 of 2 answers"


def test_python_warns_before_anything_long_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = trained()
    monkeypatch.setattr(forgetting, "prepare", lambda *_: pytest.fail("the search began"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", mt.SurgeryWarning)
        with pytest.raises(mt.SurgeryWarning, match="hardly knows"):
            mt.forget(model, tokenizer, UNKNOWN, examples(["Paris", "Rome"]), mt.ForgetOptions(template=TEMPLATE))


def test_it_is_among_the_concerns_of_the_result() -> None:
    model, tokenizer = trained()
    options = mt.ForgetOptions(trials=1, template=TEMPLATE, two_sided=False, precision="no", progress=False)
    with pytest.warns(mt.SurgeryWarning, match="hardly knows"):
        found = mt.forget(model, tokenizer, UNKNOWN, examples(["Paris", "Rome"]), options)
    assert "hardly knows" in found.concerns[0]
