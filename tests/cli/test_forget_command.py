"""``mnemotomy forget``: what to forget, what is saved, the menu, resuming, refusals, on a tiny model."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any

import pytest
import torch
from commands import fails
from learned_cities import COUNTRIES, examples, known, trained
from tiny_language import write_lines
from typer.testing import CliRunner, Result

import mnemotomy as mt
from mnemotomy.cli import app
from mnemotomy.cli.forget import forget as command
from mnemotomy.core.errors import ConfigurationError
from mnemotomy.forget import cost
from mnemotomy.forget import found as findings
from mnemotomy.forget.search import Search
from mnemotomy.store.fact_store import FactStore

OPTIONS = ("--system", "", "--date", "", "--no-two-sided")
Scores = Any


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, and the files about each city."""
    model, tokenizer = trained()
    folder = tmp_path_factory.mktemp("made")
    mt.save_model(model, folder / "model", tokenizer=tokenizer)
    for city in COUNTRIES:
        rows = [{"question": one.question, "answer": one.answer} for one in examples([city])]
        write_lines(folder / f"{city}.jsonl", rows)
    asked = [{"role": "user", "content": "In which country is Kyoto?"}, {"role": "assistant", "content": "Japan ."}]
    write_lines(folder / "messages.jsonl", [{"messages": asked}])
    write_lines(folder / "texts.jsonl", [{"text": "Kyoto lies in Japan ."}, {"text": "Kyoto is in Japan ."}])
    with FactStore(folder / "facts.db") as store:
        store.add(
            mt.Fact(city, country, (f"{city} lies in",), (f"{city} lies in {country}.",), relation="country")
            for city, country in COUNTRIES.items()
        )
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in made.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def forget(*arguments: str, model: str = "model", trials: int = 3, typed: str | None = None) -> Result:
    template = OPTIONS[:-1] if "--facts" not in arguments else ()  # facts are asked without one
    whole = ["forget", model, "out", "--trials", str(trials), "--no-two-sided", *template, *arguments]
    return CliRunner().invoke(app, whole, input=typed, catch_exceptions=False)


def record(out: str = "out") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(out, "mnemotomy.json").read_text())
    return found


@pytest.mark.usefixtures("folder")
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
    assert named == [*(one for one in asked if "." in one), "Paris.jsonl", "Rome.jsonl"]
    assert Path("out", "recipe.yaml").exists() == ("--forget" in asked)
    assert mt.fingerprint(mt.load_model("out")) == found["model"]["fingerprint_after"]


@pytest.mark.usefixtures("folder")
def test_a_name_is_asked_about_and_its_answers_are_shown() -> None:
    done = forget("--about", "Kyoto", "--force")
    assert done.exit_code == 0, done.output
    assert "the model says about Kyoto:\n  Who or what is Kyoto?" in done.stdout
    found = record()
    assert found["asked"] == {"about": "Kyoto"}
    assert any("no retain set was given" in note for note in found["notes"])
    card = Path("out", "README.md").read_text()
    assert "mnemotomy forget model OUT --forget FILE" in card  # there is no recipe
    fails(forget("--about", " "), "--about needs a name")


@pytest.mark.usefixtures("folder")
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

    again = CliRunner().invoke(app, ["apply", "model-out/recipe.yaml", "again", "--force"])
    assert again.exit_code == 0, again.output
    applied = dict(mt.load_model("again").named_parameters())
    torch.testing.assert_close(applied, expected, rtol=1e-3, atol=1e-5)  # the factors round otherwise


@pytest.mark.usefixtures("folder")
def test_the_record_as_json_alone_on_standard_output() -> None:
    done = forget("--forget", "Kyoto.jsonl", "--retain", "Rome.jsonl", "--force", "--json", "record.json")
    assert done.exit_code == 0, done.output
    assert json.loads(Path("record.json").read_text()) == record()
    assert "Candidates that no other beats" in done.stdout
    assert "out: saved; 3 candidates in" in done.stdout
    assert "* " in done.stdout


@pytest.fixture
def never_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left of what was known, it raises a concern."""
    monkeypatch.setattr(findings, "NOTHING", -1.0)


@pytest.mark.usefixtures("folder", "never_enough")
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


@pytest.mark.usefixtures("folder")
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
    assert stopped.stderr.splitlines()[-1].startswith("mnemotomy: interrupted; the same command goes on from ")
    assert Path(".out.study.db").exists()
    assert not Path("out").exists()
    assert forget(*asked, trials=5).exit_code == 0
    assert len(tries) == 3 + 3  # two were done
    assert len(record()["tried"]) == 5
    assert [one["candidate"]["name"] for one in record()["tried"]] == [str(one) for one in [*tries[:2], *tries[3:]]]


@pytest.mark.usefixtures("folder")
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


def test_foreign_folders_and_inputs_are_not_replaced(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "thesis.txt").write_text("unfinished")
    fails(forget("--forget", "Kyoto.jsonl"), "contains files that mnemotomy did not write")
    fails(
        CliRunner().invoke(app, ["forget", "model", "Kyoto.jsonl", "--forget", "Kyoto.jsonl", "--as", "edit"]), "Kyoto"
    )


def test_a_damaged_study_is_named(folder: Path) -> None:
    (folder / ".out.study.db").write_text("no database" * 50)
    fails(forget("--forget", "Kyoto.jsonl"), ".out.study.db: the trials of an earlier search are damaged")


@pytest.mark.usefixtures("folder")
def test_what_does_not_fit_into_memory_is_refused_before_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "free_memory", lambda device: 10.0)
    done = forget("--forget", "Kyoto.jsonl", "--retain", "Rome.jsonl")
    assert done.exit_code == 2
    assert "edit fewer projections with --layers or --sites" in done.stderr.splitlines()[-1]


class Hub:
    """Stands for ``huggingface_hub.HfApi``."""

    calls: list[tuple[str, dict[str, Any]]]

    def create_repo(self, repository: str, **options: Any) -> None:
        self.calls.append((repository, options))

    def upload_folder(self, **options: Any) -> None:
        self.calls.append(("folder", options))

    def upload_file(self, **options: Any) -> None:
        raise ConnectionError("no network")


@pytest.mark.usefixtures("folder")
def test_the_result_is_pushed_without_the_texts_that_were_retained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr(Hub, "calls", [], raising=False)
    asked = ["--forget", "Kyoto.jsonl", "--retain", "Rome.jsonl", "--force", "--push", "me/forgotten"]
    done = forget(*asked)
    assert done.exit_code == 0, done.output
    assert "uploaded to me/forgotten" in done.stdout
    assert [name for name, _ in Hub.calls] == ["me/forgotten", "folder"]
    assert Hub.calls[1][1]["ignore_patterns"] == ["retain.jsonl"]
    failed = CliRunner().invoke(
        app, ["forget", "model", "e.safetensors", "--trials", "3", *OPTIONS, *asked, "--as", "edit"]
    )
    assert failed.exit_code == 2
    assert failed.stderr.splitlines()[-1].endswith("is saved, but cannot be uploaded to me/forgotten: no network")


@pytest.fixture
def menu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Types at the menu, on what passes for a terminal, and gives what was printed."""

    def typed(*lines: str, force: bool = True) -> str:
        answers = iter(lines)
        monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers))
        monkeypatch.setattr("typer.confirm", lambda *_, **__: next(answers) == "y")
        with monkeypatch.context() as patch:
            said: list[str] = []
            patch.setattr(sys.stdin, "isatty", lambda: True)
            patch.setattr(sys.stdout, "isatty", lambda: True)
            patch.setattr("mnemotomy.cli.outcome.typer.echo", lambda text="", **_: said.append(str(text)))
            command(
                model="model", out=Path("out"), forget=[Path("Kyoto.jsonl")], retain=[Path("Rome.jsonl")], trials=3,
                two_sided=False, system="", date="", force=force,
            )  # fmt: skip
        assert next(answers, None) is None
        return "\n".join(said)

    return typed


def test_the_menu_saves_another_candidate(menu: Callable[..., str]) -> None:
    said = menu("nonsense", "99", "s", "q")
    assert said.count("give one of these letters, or the number of a candidate") == 2
    assert "out: saved" in said
    best = record()
    number = next(one["number"] for one in best["tried"] if one["candidate"] != best["chosen"] and one["scores"])
    menu(str(number), "s", "q")
    assert record()["chosen"] == best["tried"][number]["candidate"] != best["chosen"]


@pytest.mark.usefixtures("never_enough")
def test_the_menu_asks_before_it_saves_what_raises_concerns(menu: Callable[..., str]) -> None:
    menu("s", "n", "a", "n", "q", force=False)
    assert not Path("out").exists()
    menu("s", "y", "q", force=False)
    assert record()["concerns"]


def test_an_error_leaves_the_menu(menu: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise ConfigurationError("the disk is full")

    monkeypatch.setattr("mnemotomy.recipe.forgotten.save_found", full)
    assert "mnemotomy: the disk is full" in menu("s", "q")


def test_the_menu_goes_on_searching(menu: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnemotomy.cli.forget_session.MORE", 2)
    menu("m", "s", "q")
    assert len(record()["tried"]) == 5


def test_the_menu_audits_what_it_saved_and_pushes_it(menu: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    from mnemotomy.audit.run import AuditOptions

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr(Hub, "calls", [], raising=False)
    monkeypatch.setattr(
        AuditOptions.__init__, "__defaults__", (("greedy", "retained"), *AuditOptions.__init__.__defaults__[1:])
    )  # type: ignore[attr-defined, index]
    said = menu("a", "p", "a/b/c", "p", "me/forgotten", "q")
    assert "out: saved" in said
    assert "out-audit: audit.html, audit.json, deletion-report.md" in said
    found = json.loads(Path("out-audit", "audit.json").read_text())
    assert found["record"]["models"]["after"] == record()["model"]["fingerprint_after"]
    assert [one["attack"] for one in found["findings"]] == ["greedy", "retained"]
    assert "--push 'a/b/c' is not a valid repository" in said
    assert "uploaded to me/forgotten" in said


@pytest.mark.usefixtures("folder")
def test_requests_one_after_the_other_are_recorded_and_audited() -> None:
    source, asked = "model", []
    for city, other in (("Kyoto", "Rome"), ("Paris", "Rome"), ("Rome", "Kyoto")):
        done = CliRunner().invoke(
            app, ["forget", source, city, "--trials", "2", *OPTIONS, "--forget", f"{city}.jsonl",
                  "--retain", f"{other}.jsonl", "--force"],
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        found = record(city)
        assert [list(one["files"]["forget"]) for one in found.get("earlier", [])] == asked
        assert all(
            len(one["files"]["forget"][f"{name[0]}"]) == 64
            for one, name in zip(found.get("earlier", []), asked, strict=True)
        )
        asked.append([f"{city}.jsonl"])
        source = city
    first, second = found["earlier"]
    assert first["fingerprint_after"] == second["fingerprint_before"]
    assert second["fingerprint_after"] == found["model"]["fingerprint_before"]
    assert first["chosen"]["name"]
    assert "**Before this**, the model was changed 2 times" in Path("Rome", "README.md").read_text()
    audited = CliRunner().invoke(
        app, ["audit", "Paris", "Rome", "audit", "--forget", "Rome.jsonl", "--earlier", "Kyoto.jsonl",
              "--earlier", "Paris.jsonl", "--only", "greedy", *OPTIONS[:4]],
    )  # fmt: skip
    assert audited.exit_code == 0, audited.output
    assert "Earlier request Kyoto.jsonl:" in audited.stdout
    earlier = json.loads(Path("audit", "audit.json").read_text())["earlier"]
    assert list(earlier) == ["Kyoto.jsonl", "Paris.jsonl"]
    assert known(mt.load_model("Rome"), examples(["Rome"])) < known(mt.load_model("model"), examples(["Rome"]))


@pytest.mark.usefixtures("folder")
def test_the_commands_of_the_example_are_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    here, root = Path.cwd(), Path(__file__).parents[2]
    names = {"MODEL": str(here / "model"), "OUT": str(here / "japan")}
    text = (root / "examples" / "forget_japan.sh").read_text().replace("|\n", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("mnemotomy ")]
    assert [line.split()[1] for line in lines] == ["forget", "audit", "chat"]
    monkeypatch.chdir(root)
    for line, less, status in zip(
        lines, (["--trials", "2", "--force"], ["--only", "greedy"], []), (0, 0, 0), strict=True
    ):
        _, *arguments = [Template(word).substitute(names) for word in shlex.split(line)]
        if "audit" in arguments:
            arguments = [word for word in arguments if word not in ("--only", "asking", "damage")]
        done = CliRunner().invoke(app, [*arguments, *less], input="Kyoto lies in\n")
        assert done.exit_code == status, done.output
    assert mt.load_model(here / "japan")
    assert (here / "japan-audit" / "audit.html").exists()
