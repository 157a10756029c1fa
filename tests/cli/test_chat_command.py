"""``mnemotomy chat``: from a pipe and from a terminal, several models, several turns, commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from commands import fails
from recipe_file import recipe
from tiny_language import concept_files, save_llama
from typer.testing import CliRunner, Result

from mnemotomy.cli import app
from mnemotomy.cli.chat import chat
from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.observe.generation import continue_greedily
from mnemotomy.text.records import read_examples
from mnemotomy.text.template import Template

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIZES: dict[str, Any] = {"initializer_range": 0.4, "max_position_embeddings": 256}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("chat")
    concept_files(made)
    save_llama(made / "models" / "llama", template=CHAT, **SIZES)
    save_llama(made / "bare", seed=1, template=None, **SIZES)
    path = recipe(made, "kyoto.yaml", erase=["kyoto"], filter="hard=0.3")
    done = CliRunner().invoke(app, ["apply", str(path), str(made / "kyoto.safetensors"), "--as", "edit"])
    assert done.exit_code == 0, done.output
    return made


def talk(folder: Path, name: str, lines: str, *options: str) -> Result:
    arguments = ["chat", str(folder / name), "--max-new-tokens", "6", *options]
    return CliRunner().invoke(app, arguments, input=lines, catch_exceptions=False)


def answer(folder: Path, name: str, prompt: str, *, special_tokens: bool = False) -> str:
    model, words = load_model(folder / name), load_tokenizer(folder / name)
    return continue_greedily(model, words, [prompt], 6, special_tokens=special_tokens)[0].strip()


def test_a_pipe_gives_one_answer_per_line_and_the_history_counts(folder: Path):
    result = talk(folder, "models/llama", "Kyoto ?\n\nRome ?\n/new\nRome ?\n/quit\nParis ?\n", "--system", "")
    assert result.exit_code == 0, result.output
    words, template = load_tokenizer(folder / "models/llama"), Template(system=None)
    one = template.fill(words, template.asked("Kyoto ?"), prompt=True)
    first = answer(folder, "models/llama", one)
    two = f"{one}{first}<|im_end|>\n{template.fill(words, template.asked('Rome ?'), prompt=True)}"
    alone = answer(folder, "models/llama", template.fill(words, template.asked("Rome ?"), prompt=True))
    told = [("Kyoto ?", first), ("Rome ?", answer(folder, "models/llama", two)), ("Rome ?", alone)]
    expected = "".join(f"> {question}\n{shown(one)}\n" for question, one in told)
    assert result.stdout.replace(" ", "") == expected.replace(" ", "")


def test_alone_asks_each_question_without_those_before_it(folder: Path):
    lines = 'Kyoto ?\n{"question": "Rome ?"}\n'
    result = talk(folder, "models/llama", lines, "--system", "", "--alone", "--beside", str(folder / "models/llama"))
    assert result.exit_code == 0, result.output
    words, template = load_tokenizer(folder / "models/llama"), Template(system=None)
    alone = answer(folder, "models/llama", template.fill(words, template.asked("Rome ?"), prompt=True))
    after = result.stdout.split("> Rome ?")[1]
    assert after.count(alone) == 2


def test_answers_are_written_down_as_a_forget_set_each_question_alone(folder: Path, tmp_path: Path):
    file = tmp_path / "kyoto.jsonl"
    lines = 'Kyoto ?\n{"question": "Rome ?", "answer": "Italy"}\n{no json\nRome ?\n\n'
    options = ("--system", "", "--write", str(file))
    result = talk(folder, "models/llama", lines, *options)
    assert result.exit_code == 0, result.output
    words, template = load_tokenizer(folder / "models/llama"), Template(system=None)
    expected = [
        (one, answer(folder, "models/llama", template.fill(words, template.asked(one), prompt=True)))
        for one in ("Kyoto ?", "Rome ?", "{no json")
    ]
    found = [(one.question, one.answer) for one in read_examples(file)]
    assert found == expected
    assert f"{file}: 3 questions with the model's answers; remove the lines" in result.stdout
    fails(talk(folder, "models/llama", lines, *options), "would be replaced; name another file")
    fails(talk(folder, "models/llama", lines, "--write", "x", "--beside", "y"), "leave out --edit and --beside")
    fails(talk(folder, "models/llama", "\n", "--write", str(tmp_path / "none")), "no question was answered")


def shown(text: str) -> str:
    from mnemotomy.core.printable import printable

    return printable(text)


def test_before_and_after_an_edit_and_another_model(folder: Path):
    edit = str(folder / "kyoto.safetensors")
    result = talk(folder, "models/llama", "In which country is Kyoto?\n", "--edit", edit)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("> In which country is Kyoto?\nbefore: ")
    assert "\nafter: " in result.stdout
    name = str(folder / "models" / "llama")
    both = talk(folder, "models/llama", "Rome ?\n", "--beside", name)
    question, left, right = both.stdout.strip().split(f"\n{name}: ")
    assert (question, left.strip()) == ("> Rome ?", right.strip())


def test_tags_and_plain(folder: Path):
    tagged = talk(folder, "bare", "Rome ?\nParis ?\n", "--tags")
    first = answer(folder, "bare", "Question: Rome ?\nAnswer: ", special_tokens=True)
    second = answer(
        folder, "bare", f"Question: Rome ?\nAnswer: {first}\nQuestion: Paris ?\nAnswer: ", special_tokens=True
    )
    assert tagged.stdout.replace("\n", " ").split() == shown(f"> Rome ? {first} > Paris ? {second}").split()
    plain = talk(folder, "bare", "Rome is\nRome is\n", "--plain")
    half = len(plain.stdout) // 2
    assert plain.stdout[:half] == plain.stdout[half:]  # every line stands alone
    assert "--tags" in talk(folder, "bare", "Rome ?\n").stderr


def test_sampling_follows_the_seed(folder: Path):
    said = [talk(folder, "bare", "Rome is\n", "--plain", "--temperature", "2", "--seed", s).stdout for s in "112"]
    assert said[0] == said[1] != said[2]


@pytest.mark.parametrize("end", [KeyboardInterrupt, EOFError])
def test_a_terminal_is_prompted_and_left_quietly(
    folder: Path, end: type[BaseException], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    lines, prompts = iter(["Rome is", "/new"]), []

    def typed(prompt: str) -> str:
        prompts.append(prompt)
        try:
            return next(lines)
        except StopIteration:
            raise end from None

    monkeypatch.setattr("builtins.input", typed)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    name = str(folder / "bare")
    chat(model=name, beside=name, plain=True, max_new_tokens=4)
    assert prompts == ["> "] * 3
    assert "/quit ends" in capsys.readouterr().err


def test_a_long_conversation_forgets_its_beginning(folder: Path):
    result = talk(folder, "models/llama", "Kyoto ?\n" * 20)
    assert result.exit_code == 0, result.output
    assert "window of 256 tokens leaves no room" in talk(folder, "models/llama", "Kyoto " * 300 + "\n").stderr


def test_errors_are_one_line(folder: Path):
    fails(talk(folder, "none", "Rome ?\n"), "does not exist")
    fails(talk(folder, "bare", "Rome ?\n", "--plain", "--edit", str(folder / "kyoto.safetensors")), "another model")
