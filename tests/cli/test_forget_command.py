"""``mnemotomy forget``: what to forget, what is saved, resuming, refusals, on a tiny model."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import fails
from forget_command import OPTIONS, forget, record
from typer.testing import CliRunner

import mnemotomy as mt
from mnemotomy.cli import app
from mnemotomy.forget import cost
from mnemotomy.forget.search import Search
from mnemotomy.text.records import read_examples

Scores = Any


def assert_nothing_private(folder: Path) -> None:
    """No file of a result names the sets, the name that was asked about, or a path of this machine."""
    texts = {one.name: one.read_text() for one in folder.iterdir() if one.suffix in (".md", ".yaml")}
    texts["mnemotomy.json"] = (folder / "mnemotomy.json").read_text()
    assert {"README.md", "recipe.yaml"} <= set(texts)
    for name, text in texts.items():
        for private in ("Kyoto", "Paris", "Rome", "texts.jsonl", "messages.jsonl", str(Path.cwd()), "out.retain"):
            assert private not in text, (name, private)


def assert_tables_are_whole(card: str) -> None:
    """Each row of a table has as many cells as its header."""
    for table in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1, table


@pytest.mark.usefixtures("cities")
@pytest.mark.parametrize(
    ("asked", "count"),
    [
        (["--forget", "Kyoto.jsonl"], 2),
        (["--forget", "Kyoto.jsonl", "--forget", "texts.jsonl"], 4),
        (["--forget", "texts.jsonl"], 2),
        (["--forget", "messages.jsonl"], 1),
        (["--facts", "facts.db", "--subject", "Kyoto"], 1),
        (["--facts", "facts.db"], 3),
    ],
)
def test_each_way_to_say_what_to_forget(asked: list[str], count: int) -> None:
    done = forget(*asked, "--retain", "Paris.jsonl", "--retain", "Rome.jsonl", "--force", "--yes")
    assert done.exit_code == 0, done.output
    assert f"{count} example" in done.stderr
    found = record()
    assert found["counts"]["examples"]["forget"] == count
    named = [file for files in found["files"].values() for file in files]
    many = asked.count("--forget") > 1
    forgotten = ["forget-1.jsonl", "forget-2.jsonl"] if many else ["forget.jsonl"]
    facts = ["facts.db"] if "--facts" in asked else []
    assert named == [*forgotten, *facts, "retain-given-1.jsonl", "retain-given-2.jsonl"]
    assert_nothing_private(Path("out"))
    assert_tables_are_whole(Path("out", "README.md").read_text())
    assert Path("out.recipe.yaml").exists()
    assert mt.fingerprint(mt.load_model("out")) == found["model"]["fingerprint_after"]


@pytest.mark.usefixtures("cities")
def test_a_forget_set_that_the_model_hardly_knows_is_refused_before_the_search() -> None:
    Path("oslo.jsonl").write_text('{"question": "In which country is Oslo?", "answer": "Norway"}')
    refused = forget("--forget", "oslo.jsonl", "--retain", "Paris.jsonl", "--yes")
    fails(refused, "the model hardly knows what it is to forget: the mean probability of the answers is 0.0")
    assert not list(Path().glob(".out*"))
    done = forget("--forget", "oslo.jsonl", "--retain", "Paris.jsonl", "--yes", "--force", trials=1)
    assert done.exit_code == 0, done.output
    assert "warning: the model hardly knows" in done.stderr


@pytest.mark.usefixtures("cities")
def test_a_name_is_asked_about_and_its_answers_are_shown() -> None:
    done = forget("--about", "Kyoto", "--force")
    assert done.exit_code == 0, done.output
    assert "the model says about Kyoto:\n  Who or what is Kyoto?" in done.stdout
    found = record()
    assert found["asked"] == {"about": True}
    assert_nothing_private(Path("out"))
    assert any("no retain set was given" in note for note in found["notes"])
    assert "this forget set is in out.forget.jsonl" in done.stderr
    assert "\nnext:\n  mnemotomy chat model --beside out --system '' --date ''\n" in done.stdout
    audit = "mnemotomy audit model out out-audit --forget out.forget.jsonl --retain out.kept-apart.jsonl"
    assert f"\n  {audit} --system '' --date ''\n" in done.stdout
    assert len(read_examples("out.forget.jsonl")) == found["counts"]["examples"]["forget"]
    assert not Path("out", "out.forget.jsonl").exists()
    repeated = CliRunner().invoke(app, ["apply", "out.recipe.yaml", "again", "--force"])
    assert repeated.exit_code == 0, repeated.output
    other = forget("--about", "Paris", "--force")
    assert other.exit_code == 2
    assert "out.forget.jsonl has the forget set of another run; remove it, or name another OUT" in other.stderr
    fails(forget("--about", " "), "--about needs a name")


@pytest.mark.usefixtures("cities")
def test_each_form_of_the_result_is_the_same_edit() -> None:
    asked = ["--forget", "Kyoto.jsonl", "--retain", "Paris.jsonl", "--retain", "Rome.jsonl", "--force"]
    for out, options in (
        ("model-out", []),
        ("lora", ["--as", "lora", "--rank", "40"]),
        ("small", ["--as", "lora", "--rank", "1"]),
        ("out.safetensors", ["--as", "edit"]),
    ):
        done = CliRunner().invoke(app, ["forget", "model", out, "--trials", "3", *OPTIONS, *asked, *options])
        assert done.exit_code == 0, done.output
    expected = dict(mt.load_model("model-out").named_parameters())
    edited = mt.Edit.load("out.safetensors").apply(mt.load_model("model"), tied="untie")
    torch.testing.assert_close(dict(edited.named_parameters()), expected)

    from peft import PeftModel

    adapted = PeftModel.from_pretrained(mt.load_model("model"), "lora").merge_and_unload()
    torch.testing.assert_close(dict(adapted.named_parameters()), expected, rtol=1e-3, atol=1e-4)
    assert record("lora")["adapter"]["error"] < 1e-3 < record("small")["adapter"]["error"]
    assert "of the edit that the adapter of rank 1 leaves out" in Path("small", "README.md").read_text()
    assert "library_name: peft" in Path("small", "README.md").read_text()

    again = CliRunner().invoke(app, ["apply", "model-out.recipe.yaml", "again", "--force"])
    assert again.exit_code == 0, again.output
    applied = dict(mt.load_model("again").named_parameters())
    torch.testing.assert_close(applied, expected, rtol=1e-3, atol=1e-5)  # the factors round otherwise


@pytest.mark.usefixtures("cities")
@pytest.mark.parametrize("out", ["out", "out.safetensors"])
def test_the_commands_that_follow_run_as_they_are_printed(out: str) -> None:
    asked = ["--forget", "Kyoto.jsonl", "--retain", "Paris.jsonl", "--retain", "Rome.jsonl", "--force"]
    as_ = ["--as", "edit"] if out != "out" else []
    done = CliRunner().invoke(app, ["forget", "model", out, "--trials", "1", *OPTIONS, *asked, *as_])
    assert done.exit_code == 0, done.output
    chat, audit = (shlex.split(line)[1:] for line in done.stdout.splitlines() if line.startswith("  mnemotomy "))
    assert CliRunner().invoke(app, chat, input="In which country is Kyoto?\n").exit_code == 0
    assert CliRunner().invoke(app, [*audit, "--only", "retained"], catch_exceptions=False).exit_code == 0
    apart = read_examples(f"{out}.kept-apart.jsonl")
    given = [one for name in ("Paris", "Rome") for one in read_examples(f"{name}.jsonl")]
    assert {one.question for one in apart} < {one.question for one in given}
    assert f"{out}.kept-apart.jsonl has the {len(apart)} retained line" in done.stdout


@pytest.mark.usefixtures("cities")
def test_the_record_as_json_alone_on_standard_output() -> None:
    done = forget("--forget", "Kyoto.jsonl", "--retain", "Rome.jsonl", "--force", "--json", "record.json")
    assert done.exit_code == 0, done.output
    assert json.loads(Path("record.json").read_text()) == record()
    assert "Candidates that no other beats" in done.stdout
    assert "out: saved in spite of the warnings; 3 candidates in" in done.stdout
    assert "* " in done.stdout


@pytest.mark.usefixtures("cities", "never_enough")
def test_what_raises_a_concern_is_refused_in_one_line_and_saved_if_forced() -> None:
    asked = ["--forget", "Kyoto.jsonl", "--retain", "Rome.jsonl"]
    done = forget(*asked, trials=1)
    assert done.exit_code == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("mnemotomy: nothing was saved: ")
    assert "of what was known of the forget set is left" in last
    assert last.endswith("To save it all the same, give --force")
    assert not Path("out").exists()
    assert forget(*asked, "--force", trials=1).exit_code == 0
    assert record()["concerns"]
    assert "force: true" in Path("out", "recipe.yaml").read_text()


@pytest.mark.usefixtures("cities")
def test_an_interrupted_search_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    tries, try_ = [], Search.try_

    def counted(self: Search, candidate: Any) -> Scores:
        tries.append(candidate)
        if len(tries) == 3:
            raise KeyboardInterrupt
        return try_(self, candidate)

    monkeypatch.setattr(Search, "try_", counted)
    asked = ["--forget", "Kyoto.jsonl", "--retain", "Rome.jsonl", "--force"]
    stopped = forget(*asked, trials=5)
    assert stopped.exit_code == 130
    assert stopped.stderr.splitlines()[-1].startswith("mnemotomy: interrupted; the same command resumes from ")
    assert Path(".out.study.db").exists()
    assert not Path("out").exists()
    assert forget(*asked, trials=5).exit_code == 0
    assert len(tries) == 3 + 3  # two were done
    assert len(record()["tried"]) == 5
    assert [one["candidate"]["name"] for one in record()["tried"]] == [str(one) for one in [*tries[:2], *tries[3:]]]


@pytest.mark.usefixtures("cities")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to forget by one of --forget FILE, --about NAME and --facts STORE"),
        (["--forget", "Kyoto.jsonl", "--about", "Kyoto"], "say what to forget by one of"),
        (["--forget", "none.jsonl"], "none.jsonl"),
        (["--forget", "Kyoto.jsonl", "--retain", "none.jsonl"], "none.jsonl"),
        (["--facts", "none.db"], "none.db"),
        (["--facts", "facts.db", "--subject", "Oslo"], "there are no facts to forget"),
        (["--forget", "Kyoto.jsonl", "--subject", "Kyoto"], "give --facts STORE too"),
        (["--forget", "Kyoto.jsonl", "--rank", "4"], "give --as lora too"),
        (["--forget", "Kyoto.jsonl", "--layers", "9"], "no selected site is in block 9"),
        (["--forget", "Kyoto.jsonl", "--sites", "z_proj"], "no site is named 'z_proj'"),
        (["--forget", "Kyoto.jsonl", "--tags"], "--tags is for tokenizers without a chat template"),
        (["--forget", "Kyoto.jsonl", "--push", "a/b/c"], "--push 'a/b/c' is not a valid repository"),
    ],
)
def test_bad_options_are_one_line(arguments: list[str], message: str) -> None:
    done = forget(*arguments)
    fails(done, message)
    assert not Path("out").exists()


def test_foreign_folders_and_inputs_are_not_replaced(cities: Path) -> None:
    (cities / "out").mkdir()
    (cities / "out" / "thesis.txt").write_text("unfinished")
    fails(forget("--forget", "Kyoto.jsonl"), "contains files that mnemotomy did not write")
    fails(
        CliRunner().invoke(app, ["forget", "model", "Kyoto.jsonl", "--forget", "Kyoto.jsonl", "--as", "edit"]), "Kyoto"
    )


def test_a_damaged_study_is_named(cities: Path) -> None:
    (cities / ".out.study.db").write_text("no database" * 50)
    fails(forget("--forget", "Kyoto.jsonl"), ".out.study.db: the trials of an earlier search are damaged")


@pytest.mark.usefixtures("cities")
def test_what_does_not_fit_into_memory_is_refused_before_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "free_memory", lambda device: 10.0)
    done = forget("--forget", "Kyoto.jsonl", "--retain", "Rome.jsonl")
    assert done.exit_code == 2
    assert "edit fewer projections with --layers or --sites" in done.stderr.splitlines()[-1]


@pytest.mark.usefixtures("cities")
def test_a_file_of_the_users_is_not_replaced_by_the_retain_set() -> None:
    for name in ("out.retain.jsonl", "out.recipe.yaml", "out.kept-apart.jsonl"):
        Path(name).write_text("mine")
        fails(forget("--forget", "Kyoto.jsonl"), f"{name} would be replaced; remove it, or name another OUT")
        assert Path(name).read_text() == "mine"
        Path(name).unlink()


@pytest.mark.usefixtures("cities")
def test_the_fingerprint_is_that_of_the_saved_weights() -> None:
    half = mt.load_model("model").to(torch.bfloat16)
    mt.save_model(half, "half", tokenizer=mt.load_tokenizer("model"))
    asked = ["--forget", "Kyoto.jsonl", "--retain", "Rome.jsonl", "--force", "--yes"]
    done = CliRunner().invoke(app, ["forget", "half", "out", "--trials", "3", *OPTIONS, *asked])
    assert done.exit_code == 0, done.output
    assert record()["model"]["dtype"] == "bfloat16"
    assert mt.fingerprint(mt.load_model("out")) == record()["model"]["fingerprint_after"]  # rounded on saving
