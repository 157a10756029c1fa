"""Every block of the README, the tutorials and the how-to pages runs, in order, beside a tiny model called MODEL."""

from __future__ import annotations

import json
import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import pytest
from commands import call
from taught import teach
from typer.main import get_command

import mnemotomy as mt
from mnemotomy.cli import app
from mnemotomy.core.image_models import is_image_classifier

DOCS = Path(__file__).parents[2] / "docs"
README = DOCS.parent / "README.md"
TAUGHT = sorted([*DOCS.glob("tutorials/*.md"), *DOCS.glob("howto/*.md")])
PAGES = [README, *TAUGHT]
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SLOW = {
    "README", "person", "subset", "class", "deletion", "large-models", "adapters", "ci", "where", "facts", "benchmarks",
    "trainer", "open-unlearning", "images",
}  # fmt: skip
QUICKER = {  # what a page leaves at its default, made small; the words of the command stay those of the page
    "forget": ["--trials", "1", "--no-two-sided", "--force"],
    "audit": ["--only", "greedy"],
}


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.slow] if page.stem in SLOW else [], id=page.stem) for page in PAGES]
)
def test_every_block_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    for _, name, text in blocks:  # a reader has the files before the first command
        if name:
            Path(name).write_text(text, encoding="utf-8")
    if any("MODEL" in text for _, _, text in blocks):
        teach(
            Path("MODEL"),
            [json.loads(line) for kind, _, text in blocks if kind == "json" for line in text.splitlines()],
        )
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mt.SurgeryWarning)
        for kind, name, text in blocks:
            if kind == "sh":
                for line in text.splitlines():
                    run(line)
            elif kind == "python":
                exec(compile(text, f"{page.name}", "exec"), names)
            else:
                assert name, f"{page.name}: a block of {kind} that nothing runs"


def run(line: str) -> None:
    program, command, *rest = shlex.split(line, comments=True)
    if program == "make":
        assert re.search(rf"^{command}:", (DOCS.parent / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return
    if program == "pip":  # the wheel is installed by tests/test_package.py
        assert [command, *rest] == ["install", "."]
        return
    assert program == "mnemotomy"
    extra = QUICKER.get(command, [])
    if command == "audit" and is_image_classifier(rest[0]):
        extra = ["--only", "image-plain"]
    typed = None
    if "<" in rest:
        *rest, _, source = rest
        typed = Path(source).read_text(encoding="utf-8")
    result = call(command, *rest, *(extra if "--only" not in rest else []), typed=typed)
    assert result.exit_code == 0, f"{line}\n{result.output}"


def test_every_page_is_in_the_menu() -> None:
    menu = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    for page in TAUGHT:
        assert f"{page.relative_to(DOCS).as_posix()}\n" in menu


def test_the_first_command_comes_early_and_the_readme_is_short() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert lines.index("```sh") < 15
    assert len(lines) <= 150


@pytest.mark.parametrize("page", [README, *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.stem)
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    said = [*re.findall(r"`(mnemotomy [^`]+)`", text), *re.findall(r"^(mnemotomy .*)$", text, re.MULTILINE)]
    for line in said:
        words = re.split(r"\s+#|[|;<…]|&&", line)[0].split()[1:]
        if words[:1] == ["bench"]:  # a distribution of its own
            continue
        command: Any = get_command(app)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        known = {"-", "--help"} | {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        assert not hasattr(command, "commands") or not words or words[0].startswith("-"), line
        options = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert options <= known, line


def test_no_snippet_imports_the_experiments() -> None:
    examples = [path for path in (DOCS.parent / "examples").rglob("*") if path.is_file()]
    for path in [README, *DOCS.rglob("*.md"), *examples]:
        assert not re.search(r"(import|from) mnemotomy_bench", path.read_text(encoding="utf-8")), path
