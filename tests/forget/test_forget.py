"""Forgetting in one call, on a tiny Llama that knows the countries of three cities."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from learned_cities import TEMPLATE, examples, known, trained

import mnemotomy as mt
from mnemotomy.audit.fluency import UNJUDGED
from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.forget import candidates, workshop
from mnemotomy.forget.candidates import FIRST, Candidate
from mnemotomy.forget.forgetting import prepare
from mnemotomy.forget.found import Found
from mnemotomy.forget.general import general_rows
from mnemotomy.forget.measuring import Judge
from mnemotomy.forget.request import Request, split
from mnemotomy.forget.search import Tried
from mnemotomy.methods.language.curvature import Curvature
from mnemotomy.methods.language.predictions import predicted_tokens
from mnemotomy.methods.language.problem import TextProblem
from mnemotomy.methods.language.two_sided import TwoSided
from mnemotomy.recipe.forgotten import save_found
from mnemotomy.text.records import TextExample

OPTIONS = mt.ForgetOptions(trials=6, template=TEMPLATE, two_sided=False, precision="no", progress=False)


@pytest.fixture(scope="module")
def found() -> Found:
    model, tokenizer = trained()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mt.SurgeryWarning)
        return mt.forget(model, tokenizer, examples(["Kyoto"]), examples(["Paris", "Rome"]), OPTIONS)


def test_it_forgets_and_leaves_the_model_as_it_was(found: Found) -> None:
    model, _ = trained()
    before = mt.fingerprint(model)
    edited = found.edit.apply(model, tied="untie")
    assert mt.fingerprint(model) == before
    assert known(edited, examples(["Kyoto"])) < known(model, examples(["Kyoto"])) - 1.0
    assert found.chosen.scores is not None
    assert found.chosen.scores.left < found.before.left == 1.0


def test_the_result_tells_of_answers_and_neighbours_that_the_choice_does_not_go_by(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    fluent, near = UNJUDGED.lower(), "the answers' tokens, of neighbours outside the retain set"
    before = mt.fingerprint(found.request.model)
    told, cautions = Judge(replace(found.request, beside=8 * examples(["Kyoto"])), "no").details(found.edit)
    assert told[fluent] == found.record[fluent]
    assert told[near]["after"] < told[near]["before"] - 0.2
    shares = {when: f"{100 * share:.0f} %" for when, share in told[near].items()}
    (caution,) = cautions
    assert f"now predicts {shares['after']} of their answers' tokens, {shares['before']} before; retain more" in caution
    few = Judge(replace(found.request, beside=examples(["Kyoto"])[:1]), "no").details(found.edit)
    assert few.cautions == []  # one answer may fall by chance
    assert mt.fingerprint(found.request.model) == before
    monkeypatch.setattr("mnemotomy.forget.measuring.greedy_answers", lambda *_: ["mat mat mat mat mat mat mat mat"])
    assert found.judge.details(found.edit).told[fluent] == {"before": 1.0, "after": 0.0}


def test_the_choice_is_the_best_of_what_was_tried(found: Found) -> None:
    assert [one.candidate for one in found.tried] == list(FIRST[:6])
    assert found.chosen.rank(found.before) == max(one.rank(found.before) for one in found.tried)
    assert found.chosen.number in {one.number for one in found.pareto}


def test_what_costs_least_is_tried_first_and_at_four_strengths() -> None:
    least = replace(FIRST[0], strength=1.0)
    assert least == Candidate("paper", 0.0, kinds="attention", blocks="upper third")
    assert [replace(one, strength=1.0) == least for one in FIRST[:5]] == [True, True, True, True, False]
    assert [one.strength for one in FIRST[:4]] == [1.5, 2.0, 3.0, 4.0]


def test_a_longer_search_repeats_a_shorter_one_and_resumes(tmp_path: Path) -> None:
    model, tokenizer = trained()
    forget, retain = examples(["Kyoto"]), examples(["Paris", "Rome"])
    kept = replace(OPTIONS, trials=14, study=tmp_path / "study.db")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mt.SurgeryWarning)
        whole = mt.forget(model, tokenizer, forget, retain, replace(OPTIONS, trials=15))
        first = mt.forget(model, tokenizer, forget, retain, kept)
        resumed = mt.forget(model, tokenizer, forget, retain, replace(kept, trials=15))
    assert [one.candidate for one in whole.tried] == [one.candidate for one in resumed.tried]
    assert resumed.tried[:14] == first.tried
    assert resumed.chosen.rank(resumed.before) >= first.chosen.rank(first.before)


def test_a_small_retain_set_is_topped_up_and_said() -> None:
    from dataclasses import replace

    model, tokenizer = trained()
    options = replace(OPTIONS, positions="answer")
    request = prepare(model, tokenizer, examples(["Kyoto"]), examples(["Rome"]), options)
    (note,) = request.notes
    assert " tokens, where 96 are wanted" in note
    assert "texts that the model wrote were added" in note
    assert len(request.retain) + len(request.checks) >= 10


def test_sentences_of_one_form_are_topped_up_where_a_model_writes_more_than_its_facts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, tokenizer = trained()
    retain = [f"{town} lies in Italy ." for town in ("Rome", "Milan", "Turin")] * 60
    notes = []
    for general in ([], ["a sentence"]):
        monkeypatch.setattr("mnemotomy.forget.forgetting.general_rows", lambda *_, general=general: general)
        lines = [TextExample.of_text(one) for one in retain]
        notes.append(prepare(model, tokenizer, examples(["Kyoto"]), lines, OPTIONS).notes)
    assert notes[0] == ()
    assert "different pairs of tokens, where" in notes[1][0]


@pytest.mark.parametrize(("share", "writes"), [(0.4, True), (0.6, False)])
def test_a_model_writes_english_by_the_surprise_that_its_vocabulary_allows(
    share: float, writes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = trained()
    loss = share * math.log(len(tokenizer))
    monkeypatch.setattr(
        "mnemotomy.forget.general.sequence_log_probabilities", lambda _, rows, __: -loss * predicted_tokens(rows)
    )
    assert bool(general_rows(model, tokenizer)) is writes


CONVERSATION = {"messages": [{"role": role, "content": "Rome ?"} for role in ("user", "assistant") * 2]}


@pytest.mark.parametrize(
    ("forget", "retain", "message"),
    [
        (["Kyoto"], None, "nothing of the forget set can be asked"),
        (["Kyoto"], ["Rome lies in Italy .", "Paris lies in France ."], "nothing of the forget set can be asked"),
        (["Kyoto lies in Japan ."], ["Rome"] * 6, "nothing of the retain set can be asked"),
        (["Kyoto lies in Japan ."], [CONVERSATION] * 6, "nothing of the retain set can be asked"),
    ],
)
def test_what_cannot_be_asked_is_refused(forget: list[str], retain: list[Any] | None, message: str) -> None:
    model, tokenizer = trained()
    with pytest.raises(DataError, match=message):
        mt.forget(model, tokenizer, forget, retain, OPTIONS)


def test_examples_to_measure_on_are_such_as_can_be_asked() -> None:
    can = [f"Rome lies in Italy {word} ." for word in "abc"]
    lines = [one for text in can for one in (TextExample.of_text("Rome"), TextExample.of_text(text))]
    for seed in range(5):
        _, apart = split(lines, seed)
        assert all(one.turns[0].content in can for one in apart)


def test_a_search_needs_a_trial() -> None:
    from dataclasses import replace

    model, tokenizer = trained()
    with pytest.raises(ConfigurationError, match="at least 1 trial"):
        mt.forget(model, tokenizer, examples(["Kyoto"]), examples(["Paris", "Rome"]), replace(OPTIONS, trials=0))


def test_it_is_saved_as_a_model_an_adapter_and_an_edit(
    found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = trained()
    source = tmp_path / "source"
    mt.save_model(model, source, tokenizer=tokenizer)
    about = {"source": str(source), "files": {"forget": {"forget.jsonl": "0" * 64}}}
    expected = found.edit.apply(model, tied="untie")

    record = save_found(found, model, tokenizer, tmp_path / "model", about)
    loaded = mt.load_model(tmp_path / "model")
    assert known(loaded, examples(["Kyoto"])) == pytest.approx(known(expected, examples(["Kyoto"])), abs=1e-4)
    assert record["scores"]["after"]["left"] < 1.0
    assert json.loads((tmp_path / "model" / "mnemotomy.json").read_text())["kind"] == "forget"
    assert "left of what was known" in (tmp_path / "model" / "README.md").read_text()

    from peft import PeftModel

    record = save_found(found, model, tokenizer, tmp_path / "lora", about, as_="lora", rank=64)
    adapted = PeftModel.from_pretrained(mt.load_model(source), str(tmp_path / "lora")).merge_and_unload()
    assert record["adapter"]["error"] < 1e-3
    for name, parameter in adapted.named_parameters():
        torch.testing.assert_close(parameter, expected.get_parameter(name), rtol=1e-3, atol=1e-4)
    monkeypatch.chdir(tmp_path / "lora")  # from elsewhere, its base is still found
    with pytest.warns(UserWarning, match=f"merged into its base {source}"):
        merged = mt.load_model(tmp_path / "lora")
    assert record["model"]["fingerprint_after"] == mt.fingerprint(merged)
    assert known(merged, examples(["Kyoto"])) == pytest.approx(known(expected, examples(["Kyoto"])), abs=1e-3)
    assert known(merged, examples(["Paris", "Rome"])) == pytest.approx(
        known(expected, examples(["Paris", "Rome"])), abs=1e-3
    )
    assert mt.load_tokenizer(tmp_path / "lora").get_vocab() == tokenizer.get_vocab()

    save_found(found, model, tokenizer, tmp_path / "edit.safetensors", about, as_="edit")
    edit = mt.Edit.load(tmp_path / "edit.safetensors")
    torch.testing.assert_close(
        dict(edit.apply(model, tied="untie").named_parameters()), dict(expected.named_parameters())
    )


@pytest.mark.parametrize(
    ("candidate", "text"),
    [
        (Candidate(), "projector on μ > 0.5, with outputs, α = 1, upper two thirds of the blocks"),
        (Candidate("paper", 0.0, False, 1.5, "mlp", "all"), "the paper's μ, α = 1.5, mlp only, all blocks"),
        (Candidate("two-sided", 0.01), "two-sided, damping 0.01"),
        (Candidate("two-sided", 0.01, strength=1.4), "two-sided, damping 0.01, repairs times 1.4"),
    ],
)
def test_a_candidate_says_what_it_is(candidate: Candidate, text: str) -> None:
    assert str(candidate) == text


def test_the_two_sided_edit_is_the_one_that_its_recipe_names(found: Found, tmp_path: Path) -> None:
    model, tokenizer = trained()
    chosen = found.choose(Tried(99, Candidate("two-sided", 0.05, strength=1.3), found.before))
    mt.save_model(model, tmp_path / "source", tokenizer=tokenizer)
    about = {"source": str(tmp_path / "source"), "files": {"forget": {"forget.jsonl": "0" * 64}}}
    save_found(chosen, model, tokenizer, tmp_path / "out", about)
    named = yaml.safe_load((tmp_path / "out" / "recipe.yaml").read_text())["method"]
    assert named.pop("name") == "two-sided"
    assert named["repair"] == 1.3
    assert named["read"] > TwoSided.read
    assert named["repairing"] > TwoSided.repairing
    problem = TextProblem(model, tokenizer, found.request.forget, found.request.retain, TEMPLATE)
    expected, edited = TwoSided(**named)(problem), chosen.edit.apply(model, tied="untie")
    torch.testing.assert_close(dict(edited.named_parameters()), dict(expected.named_parameters()))


def test_a_search_reads_the_factors_once_and_frees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    collect = Curvature.collect
    monkeypatch.setattr(Curvature, "collect", lambda *args: (reads.append("factors"), collect(*args))[1])
    first = (Candidate("two-sided", 0.05), Candidate("two-sided", 0.05, strength=1.3), Candidate("two-sided", 0.1))
    monkeypatch.setattr(candidates, "TWO_SIDED", first)
    monkeypatch.setattr(candidates, "FIRST", ())
    model, tokenizer = trained()
    options = replace(OPTIONS, trials=3, two_sided=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mt.SurgeryWarning)
        searched = mt.forget(model, tokenizer, examples(["Kyoto"]), examples(["Paris", "Rome"]), options)
    assert [one.candidate for one in searched.tried] == list(first)
    assert len(reads) == 1
    assert not any(vars(searched.workshop._shared).values())


def test_the_two_sided_edit_stays_in_the_chosen_blocks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(candidates, "TWO_SIDED", (Candidate("two-sided", 0.05),))
    monkeypatch.setattr(candidates, "FIRST", ())
    model, tokenizer = trained()
    options = replace(OPTIONS, trials=1, two_sided=True, layers=(0,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mt.SurgeryWarning)
        found = mt.forget(model, tokenizer, examples(["Kyoto"]), examples(["Paris", "Rome"]), options)
    edited = found.edit.apply(model, tied="untie")
    changed = {
        name
        for (name, old), new in zip(model.named_parameters(), edited.parameters(), strict=True)
        if not torch.equal(old, new)
    }
    assert changed
    assert all(".layers.0." in name for name in changed)


def test_candidates_that_edit_the_same_blocks_are_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    alike = [Candidate("projector", 0.5, blocks=blocks) for blocks in ("all", "upper two thirds", "upper third")]
    other = Candidate("projector", 0.5, kinds="mlp", blocks="all")
    monkeypatch.setattr(candidates, "FIRST", (*alike, other))
    model, tokenizer = trained()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mt.SurgeryWarning)
        options = replace(OPTIONS, trials=1, layers=(0,))
        found = mt.forget(model, tokenizer, examples(["Kyoto"]), examples(["Paris", "Rome"]), options)
    assert list(found.workshop.first) == [alike[0], other]


def test_a_candidate_is_named_by_the_blocks_that_it_edits() -> None:
    model, tokenizer = trained()
    chosen = {"layers": (0,), "sites": ("gate_proj", "down_proj")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mt.SurgeryWarning)
        usual, found = (
            mt.forget(model, tokenizer, examples(["Kyoto"]), examples(["Paris", "Rome"]), replace(OPTIONS, **some))
            for some in ({}, chosen)
        )
    assert usual.record["tried"][0]["candidate"]["name"] == str(candidates.FIRST[0])
    names = [one["candidate"]["name"] for one in found.record["tried"]]
    assert all("block 0" in name and "third" not in name for name in names)
    assert not any("attention" in name for name in names)  # nothing of it was chosen, so they would edit nothing
    several, one = Candidate("projector", 0.5), Candidate("two-sided", 0.1)
    assert several.named(workshop._blocks_of([5, 0, 1, 2, None])).endswith(", blocks 0-2, 5")
    assert one.named(workshop._blocks_of([7])) == "two-sided, damping 0.1, block 7"


def test_only_telling_words_of_an_answer_show_knowledge() -> None:
    from mnemotomy.forget.measuring import telling_row
    from mnemotomy.text.probes import probes_of

    _, tokenizer = trained()
    (probe,) = probes_of(examples(["Kyoto"])[:1], TEMPLATE)
    row = telling_row(probe, tokenizer)
    assert tokenizer.decode([label for label in row.labels if label >= 0]).strip() == "Japan"


def test_what_is_kept_is_asked_in_other_words_too() -> None:
    """An edit may spare the retained words alone: the wording that loses most counts."""
    model, tokenizer = trained()
    kept = examples(["Rome", "Paris"])
    judge = Judge(Request(model, tokenizer, examples(["Kyoto"]), kept, kept, TEMPLATE))
    assert len(judge.kept_wordings) == 3
    assert judge.scores() == judge.before
    first = judge.kept_wordings[0]
    judge.kept_wordings[0] = first._replace(before=first.before._replace(hits=4 * first.before.hits))
    assert judge.scores().hits == pytest.approx(judge.before.hits / 4)
    assert judge.scores().kept == judge.before.kept
