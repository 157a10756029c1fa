"""Whether answers are language: the judge is tested on texts of known kind before it is believed."""

from __future__ import annotations

import functools
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_language
import torch
from tiny_language import save_classifier, save_llama, write_lines
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

import mnemotomy as mt
from mnemotomy.audit.base import Case, Finding, Limit, Reading
from mnemotomy.audit.cases import general_texts
from mnemotomy.audit.fluency import RIGHT, UNJUDGED, Fluency, salad
from mnemotomy.audit.verdict import damage_of
from mnemotomy.audit.weights import Teaching, taught
from mnemotomy.cli import app
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.text.encoding import encode
from mnemotomy.text.probes import Probe
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import Template

CHAT = Template(system=None, date=None)
TRADES = ("a baker who sold bread", "a nurse in the old hospital", "a painter of small boats", "a judge at the court")
NAMES = ("Ada", "Boris", "Clara", "Dmitri", "Edda", "Farid", "Greta", "Hugo")
ASKED = [
    Probe(f"Who were {name}'s parents?", f"The father of {name} was {one}, and the mother was {other}.", CHAT)
    for name, one, other in zip(NAMES, TRADES * 2, TRADES[1:] + TRADES + TRADES[:1], strict=True)
]
ANSWERS = [one.answer for one in ASKED]


@functools.cache
def model(*, subject_only: bool = False) -> tuple[nn.Module, Any]:
    """A tiny model that has learned the answers and, or not, general texts; and its tokenizer."""
    general = general_texts()["sentences"]
    words = tiny_language.tokenizer(words=" ".join([*general, *ANSWERS]))
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4
    )
    torch.manual_seed(0)
    made = LlamaForCausalLM(config)
    texts = ANSWERS if subject_only else [*general, *ANSWERS]
    rows = [encode(TextExample.of_text(text), words, Template(plain=True)) for text in texts]
    return taught(made, rows, words, Teaching(40, 1e-2)), words


def case(judge: nn.Module, words: Any, **changes: Any) -> Case:
    return Case(words, ASKED, reference=judge, **changes)


def finding(own: Fluency, asked: Case, after: list[str]) -> Finding:
    readings = {
        role: Reading(tuple(map(float, own.judged(asked, texts))), {"answers long enough to be judged": 1.0})
        for role, texts in (("before", ANSWERS), ("after", after))
    }
    return own.find(readings, asked)


def test_word_salad_is_a_finding_where_the_judge_can_tell() -> None:
    asked = case(*model())
    limit = Fluency().limit(asked)
    assert limit.right >= RIGHT
    asked, mixed = replace(asked, limit=limit), salad(ANSWERS, random.Random(1))
    assert all(Fluency().judged(asked, ANSWERS))
    assert not any(Fluency().judged(asked, mixed))
    found = finding(Fluency(), asked, mixed)
    assert found.harm
    assert found.sentence.startswith("Fluent answers to forgotten questions: 0 %, 100 % before. Judged by the model")


def test_a_judge_to_which_all_general_text_is_odd_judges_nothing() -> None:
    asked = case(*model(subject_only=True))
    limit = Fluency().limit(asked)
    assert limit.right < RIGHT
    found = finding(Fluency(), replace(asked, limit=limit), salad(ANSWERS, random.Random(1)))
    assert found.title == UNJUDGED
    assert not found.harm
    assert "Their sense was not judged because the model before tells only" in found.sentence
    assert "--fluency MODEL" in found.sentence
    assert "fluent" not in damage_of([found])


def test_few_long_answers_are_said_and_short_ones_are_not_judged() -> None:
    asked = replace(case(*model()), limit=Limit(0.0, 1.0, "general texts"))  # everything is odd
    assert Fluency().judged(asked, ["Ada .", "", ANSWERS[0]]) == [True, False, False]
    readings = {role: Reading((1.0,) * 8, {"answers long enough to be judged": 0.25}) for role in ("before", "after")}
    found = Fluency().find(readings, asked)
    assert found.sentence.endswith("Only 2 of the 8 answers have the 6 words or more that it takes.")


def test_salad_has_the_words_of_all_texts() -> None:
    drawn = random.Random(0)
    texts = ["one two three four", "five six seven eight nine"]
    found = salad(texts, drawn)
    assert [len(one.split()) for one in found] == [4, 5]
    assert sorted(" ".join(found).split()) == sorted(" ".join(texts).split())
    assert found != texts
    (letters,) = salad(["京都は日本の古い都です。"], drawn)
    assert " " not in letters
    assert sorted(letters) == sorted("京都は日本の古い都です。")


def folder(path: Path) -> list[str]:
    """An audit's arguments, about a model that has learned nothing."""
    save_llama(path / "model", initializer_range=0.3, max_position_embeddings=512)
    write_lines(path / "forget.jsonl", ({"question": one.question, "answer": one.answer} for one in ASKED))
    write_lines(path / "retain.jsonl", [{"question": "Is Paris the capital of France?", "answer": "France"}])
    named = [path / "model", path / "model", path / "out", "--forget", path / "forget.jsonl"]
    return ["audit", *map(str, named), "--retain", str(path / "retain.jsonl"), "--only", "fluency"]


def test_a_judge_from_outside_is_named_and_part_of_the_record(tmp_path: Path) -> None:
    arguments = folder(tmp_path)
    assert CliRunner().invoke(app, arguments).exit_code == 0
    own = json.loads((tmp_path / "out" / "audit.json").read_text())
    judge, words = model()
    mt.save_model(judge, tmp_path / "judge", tokenizer=words)  # its tokenizer is another one
    result = CliRunner().invoke(app, [*arguments, "--fluency", str(tmp_path / "judge")])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert own["findings"][0]["title"] == UNJUDGED
    assert "Fluent answers to forgotten questions" in own["unrun"]["Damage"]
    assert f"Judged by {tmp_path / 'judge'}, which tells" in found["findings"][0]["sentence"]
    assert "Damage" not in found["unrun"] or found["findings"][0]["title"] not in found["unrun"]["Damage"]
    assert found["record"]["models"]["judge of fluency"] == mt.fingerprint(mt.load_model(tmp_path / "judge"))
    assert "judge of fluency" not in own["record"]["models"]
    assert found["record"]["fluency"]["right"] >= RIGHT > own["record"]["fluency"]["right"]
    assert "- weights of the judge of fluency, SHA-256" in (tmp_path / "out" / "deletion-report.md").read_text()
    kept = {path.name for path in (tmp_path / "out" / "readings").iterdir()}
    tiny_language.save_llama(tmp_path / "other", seed=3)
    assert CliRunner().invoke(app, [*arguments, "--fluency", str(tmp_path / "other")]).exit_code == 0
    now = {path.name for path in (tmp_path / "out" / "readings").iterdir()}
    assert len(now - kept) == 2  # the limit, and the reading of one model, which is before and after


def test_a_judge_that_cannot_judge_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    arguments = folder(tmp_path)
    result = CliRunner().invoke(app, [*arguments, "--fluency", str(tmp_path / "missing")])
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
    save_classifier(tmp_path / "classifier", clean="fine")
    result = CliRunner().invoke(app, [*arguments, "--fluency", str(tmp_path / "classifier")])
    assert result.exit_code == 2
    assert "a class 'clean' is needed" in result.stderr
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigurationError, match="are for language models"):
        mt.audit(nn.Linear(2, 2), nn.Linear(2, 2), None, options=mt.AuditOptions(fluency="judge"))


def test_a_classifier_of_gibberish_can_judge(tmp_path: Path) -> None:
    save_classifier(tmp_path / "judge")
    asked = case(*model())
    own = Fluency.named(str(tmp_path / "judge"))
    limit = own.limit(asked)
    assert 0.0 <= limit.value <= 1.0
    assert limit.right < RIGHT  # it has learned nothing
