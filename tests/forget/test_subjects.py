"""Edits at the subjects: where they are made, what from, and when they are left out."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_language
import torch
from learned_cities import TEMPLATE, examples, trained

import mnemotomy as mt
from mnemotomy.core.clock import Clock
from mnemotomy.core.errors import DataError
from mnemotomy.data.fact import Fact
from mnemotomy.engram.subjects import NEIGHBOURS, PROMPTS, weighed
from mnemotomy.forget.about import facts_asked
from mnemotomy.forget.candidates import AT_SUBJECTS, FIRST, Candidate
from mnemotomy.forget.cost import cost_of
from mnemotomy.forget.found import FORGET, RETAIN, Found
from mnemotomy.forget.subjects import Naming, factored_at_subjects, names_of, sites_at_subjects
from mnemotomy.recipe.editing import prepare_edit
from mnemotomy.recipe.file import load_recipe
from mnemotomy.recipe.forgotten import save_found
from mnemotomy.text.encoding import encode, subject_end
from mnemotomy.text.records import TextExample, json_lines_of, read_examples
from mnemotomy.text.template import Template

OPTIONS = mt.ForgetOptions(trials=5, template=TEMPLATE, two_sided=False, precision="no", progress=False)
SITE = "model.layers.0.mlp.down_proj"


def about(*cities: str) -> list[TextExample]:
    return [replace(one, subject=city) for city in cities for one in examples([city])]


def searched(options: mt.ForgetOptions = OPTIONS, **more: Any) -> Found:
    model, tokenizer = trained()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mt.SurgeryWarning)
        return mt.forget(model, tokenizer, about("Kyoto"), about("Paris", "Rome"), options, **more)


@pytest.fixture(scope="module")
def found() -> Found:
    return searched(neighbours=[Fact("the capital", "?", ("In which country is the capital?",))])


def test_edits_at_the_subjects_are_tried_first_and_change_the_lowest_mlps_alone(found: Found) -> None:
    model, _ = trained()
    assert [one.candidate for one in found.tried] == [*AT_SUBJECTS, FIRST[0]]
    edited = found.choose(found.tried[0]).edit.apply(model, tied="untie")
    old = dict(model.named_parameters())
    changed = [name for name, new in edited.named_parameters() if not torch.equal(old[name], new)]
    assert changed == [f"{SITE}.weight"]
    assert found.settings["subjects"] == [SITE]
    assert "in 1 of the 2 blocks, with 1 name to forget and 3 others" in found.request.notes[-1]


def test_a_longer_search_proposes_them_too_and_repeats_a_shorter_one(tmp_path: Path) -> None:
    count = len(AT_SUBJECTS) + len(FIRST)
    whole = searched(replace(OPTIONS, trials=count + 4))
    searched(replace(OPTIONS, trials=count + 1, study=tmp_path / "study.db"))
    resumed = searched(replace(OPTIONS, trials=count + 4, study=tmp_path / "study.db"))
    assert [one.candidate for one in whole.tried] == [one.candidate for one in resumed.tried]
    assert any(one.candidate.subjects for one in whole.tried[count:])


def test_without_subjects_nothing_of_it_is_tried_or_told() -> None:
    model, tokenizer = trained()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mt.SurgeryWarning)
        plain = mt.forget(model, tokenizer, examples(["Kyoto"]), about("Paris", "Rome"), replace(OPTIONS, trials=2))
    assert [one.candidate for one in plain.tried] == list(FIRST[:2])
    assert "subjects" not in plain.settings
    assert not any("subject" in note for note in plain.request.notes)
    assert "subjects" not in plain.record["chosen"]


@pytest.mark.parametrize(
    ("candidate", "name"),
    [
        (AT_SUBJECTS[0], "at the subjects, MLPs of the lowest 30 % of the blocks: projector on μ > 0.2, α = 1"),
        (AT_SUBJECTS[-1], "at the subjects, MLPs of the lowest 30 % of the blocks: the paper's μ, α = 1"),
    ],
)
def test_they_are_named_in_plain_words(candidate: Candidate, name: str) -> None:
    assert str(candidate) == name
    recipe = candidate.recipe()
    assert recipe.pop("name") == name
    assert Candidate(**recipe) == candidate


@pytest.mark.parametrize("template", [TEMPLATE, Template(plain=True)])
def test_the_reference_is_all_other_tokens_and_neighbours_weigh_as_much(template: Template) -> None:
    model, tokenizer = trained()
    near = names_of([Fact("Italy", "?", ("In which country is Italy?",)), Fact("kyoto", "?", ("Is kyoto in Japan?",))])
    naming = Naming(tokenizer, about("Kyoto"), [*about("Paris"), *examples(["Rome"])], near, template)
    assert [one.subject for one in naming.others()] == ["Italy", "Paris", "Paris"]  # Kyoto itself is to be forgotten
    moments = naming.moments(model, [SITE])
    rows = [encode(one, tokenizer, template) for one in about("Kyoto")]
    assert moments.count(SITE, FORGET) == 2
    assert moments.count(SITE, PROMPTS) == sum(len(row.input_ids) for row in rows) - 2
    assert moments.count(SITE, NEIGHBOURS) == 3
    rest = moments.count(SITE, PROMPTS) + moments.count(SITE, RETAIN)
    assert weighed(moments, FORGET).count(SITE, NEIGHBOURS) == pytest.approx(rest, abs=1.5)
    for one, row in zip(about("Kyoto"), rows, strict=True):
        end = subject_end(one, tokenizer, template)
        assert tokenizer.decode(row.input_ids[: end + 1]).endswith("Kyoto")


def test_a_token_of_the_subject_and_not_what_follows_it_is_read() -> None:
    """What comes after the subject must not matter, or other phrasings would not be forgotten."""
    model, tokenizer = trained()
    lines = [replace(one, turns=(one.turns[0], replace(one.turns[1], content="Rome ."))) for one in about("Kyoto")]
    kept = about("Paris")
    triangles = [
        Naming(tokenizer, of, kept, [], TEMPLATE).moments(model, [SITE]).moment(SITE, FORGET).triangle
        for of in (about("Kyoto"), lines)
    ]
    torch.testing.assert_close(*triangles)


@pytest.mark.parametrize(
    ("forget", "places", "reason"),
    [
        ([*about("Kyoto"), TextExample.of_question("Where is it?", "Japan .")], {}, "only 2 of 3 lines"),
        (about("Kyoto"), {"sites": ["q_proj"]}, "none of the chosen sites is the second projection of an MLP in the"),
        (
            about("Kyoto"),
            {"layers": (1,)},
            "none of the chosen sites is the second projection of an MLP in the lowest 1",
        ),
    ],
)
def test_where_they_cannot_be_made_a_note_says_why(
    forget: list[TextExample], places: dict[str, Any], reason: str
) -> None:
    model, tokenizer = trained()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mt.SurgeryWarning)
        options = replace(OPTIONS, trials=1, **places)
        found = mt.forget(model, tokenizer, forget, about("Paris", "Rome"), options)
    assert [one.candidate for one in found.tried] == list(FIRST[:1])
    assert f"no edit at the subjects was tried: {reason}" in found.request.notes[-1]


def test_other_chosen_sites_and_blocks_hold_for_them() -> None:
    model, _ = trained()
    assert sites_at_subjects(model, about("Kyoto"), [], ["down_proj"], (0,)) == ([SITE], "")
    assert sites_at_subjects(model, examples(["Kyoto"]), [], "all-linear", None) == ([], "")


def test_a_model_without_mlps_of_a_known_kind_is_left_to_other_edits() -> None:
    sites, why = sites_at_subjects(torch.nn.Sequential(torch.nn.Linear(3, 3)), about("Kyoto"), [], "all-linear", None)
    assert (sites, why) == ([], "no edit at the subjects was tried: this model has no MLPs of a known kind")


def test_a_subject_that_a_chat_template_changes_is_left_to_other_edits() -> None:
    model, _ = trained()
    changed = "message['content'] | upper if message['role'] == 'user' else message['content'] | trim"
    shouting = tiny_language.tokenizer(tiny_language.TEMPLATE.replace("message['content'] | trim", changed))
    concept, note = factored_at_subjects(
        model, Naming(shouting, about("Kyoto"), about("Paris"), [], TEMPLATE), [SITE], progress=False
    )
    assert concept is None
    assert note.startswith("no edit at the subjects was tried: here: 'In which country is Kyoto?' is not a part of")


def test_too_few_rows_leave_them_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnemotomy.forget.subjects.row_concerns", lambda *_: ["the moments have 3 rows"])
    found = searched(replace(OPTIONS, trials=1))
    assert found.request.notes[-1] == "no edit at the subjects was tried: the moments have 3 rows"
    assert not found.tried[0].candidate.subjects


@pytest.mark.parametrize("of", ["forget", "retain", "neighbours"])
def test_a_line_that_does_not_name_its_subject_is_refused(of: str) -> None:
    model, tokenizer = trained()
    sets: dict[str, Any] = {"forget": about("Kyoto"), "retain": about("Paris", "Rome")}
    if of == "neighbours":
        sets[of] = [Fact("Osaka", "?", ("In which country is it?",))]
    else:
        sets[of][0] = replace(sets[of][0], subject="Osaka")
    with pytest.raises(DataError, match="the subject 'Osaka' does not occur in 'In which country is"):
        mt.forget(model, tokenizer, **sets, options=OPTIONS)


def test_neighbours_without_subjects_to_forget_are_refused() -> None:
    model, tokenizer = trained()
    with pytest.raises(DataError, match="no line to forget has a 'subject'"):
        mt.forget(model, tokenizer, examples(["Kyoto"]), neighbours=[Fact("Rome", "?", ("Is Rome in Italy?",))])


def test_neighbours_are_not_for_images() -> None:
    images = torch.zeros(4, 3), torch.tensor([0, 0, 1, 1])
    with pytest.raises(DataError, match="this model reads images"):
        mt.forget(torch.nn.Linear(3, 2), None, images, images, neighbours=[Fact("Rome", "?", ("Is Rome in Italy?",))])


def test_proposals_at_the_subjects_are_weak_and_take_all_outputs() -> None:
    searched_long = searched(replace(OPTIONS, trials=len(AT_SUBJECTS) + len(FIRST) + 4))
    proposed = [one.candidate for one in searched_long.tried[-4:] if one.candidate.subjects]
    assert proposed
    assert all(0.5 <= one.strength <= 2.0 and not one.outputs for one in proposed)


def test_its_recipe_gives_the_same_edit(found: Found, tmp_path: Path) -> None:
    model, tokenizer = trained()
    mt.save_model(model, tmp_path / "source", tokenizer=tokenizer)
    (tmp_path / "forget.jsonl").write_text(json_lines_of(about("Kyoto")))
    line = '{"subject": "the capital", "prompts": "In which country is the capital?"}\n'
    (tmp_path / "neighbours.jsonl").write_text(line)
    files = {name: {str(tmp_path / f"{name}.jsonl"): "0" * 64} for name in ("forget", "neighbours")}
    chosen = found.choose(found.tried[1])
    save_found(chosen, model, tokenizer, tmp_path / "out", {"source": str(tmp_path / "source"), "files": files})
    assert "forget.jsonl" in (tmp_path / "out" / "recipe.yaml").read_text()
    assert str(tmp_path) not in (tmp_path / "out" / "recipe.yaml").read_text()
    loaded = load_recipe(tmp_path / "out.recipe.yaml")
    made = prepare_edit(
        loaded, loaded.recipe, tmp_path / "again", device="cpu", resume=False, progress=False, clock=Clock()
    )
    expected, edited = chosen.edit.apply(model, tied="untie"), made.edit.apply(made.model, tied="untie")
    torch.testing.assert_close(dict(edited.named_parameters()), dict(expected.named_parameters()), rtol=1e-4, atol=1e-5)
    moved = float((edited.get_submodule(SITE).weight - model.get_submodule(SITE).weight).detach().norm())
    assert moved > 1e-2 * float(model.get_submodule(SITE).weight.detach().norm())


def test_the_estimate_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnemotomy.forget.cost.pass_seconds", lambda *args, **more: 0.01)
    model, _ = trained()
    without, with_them = cost_of(model, 20), cost_of(model, 20, subjects=[SITE])
    width = model.get_submodule(SITE).in_features
    assert with_them.moments - without.moments > 4 * 8 * width * (width + 1) / 2
    assert with_them.seconds > without.seconds
    assert cost_of(model, 20, trials=4, subjects=[SITE]).factors < without.factors


def test_files_may_name_subjects(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text(
        '{"question": "Is Kyoto old?", "answer": "Yes", "subject": "Kyoto"}\n{"text": "No.", "subject": 3}\n'
    )
    first, second = read_examples(path)
    assert (first.subject, second.subject) == ("Kyoto", None)
    assert json_lines_of([first]) == '{"question": "Is Kyoto old?", "answer": "Yes", "subject": "Kyoto"}\n'


def test_facts_have_their_subjects_where_a_prompt_names_them() -> None:
    asked = facts_asked([Fact("Kyoto", "Japan", ("Kyoto lies in", "The old capital lies in"))])
    assert [one.subject for one in asked] == ["Kyoto", None]
