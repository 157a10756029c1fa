"""``mnemotomy chat``: talk to a model, before and after an edit side by side."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnemotomy.cli.options import LARGEST_SEED, Device, Model, TrustCode
from mnemotomy.cli.outcome import one_line_errors, say
from mnemotomy.cli.templates import USUAL, with_template
from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.core.files import check_file
from mnemotomy.core.printable import printable
from mnemotomy.text.template import TemplateSettings

if TYPE_CHECKING:
    from torch import nn

    from mnemotomy.text.template import Template

NEW, QUIT = "/new", "/quit"


@one_line_errors()
@with_template
def chat(
    model: Model,
    edit: Annotated[
        Path | None, typer.Option(help="A saved edit of MODEL: every answer before and after it.", metavar="EDIT")
    ] = None,
    beside: Annotated[str | None, typer.Option(help="Another model to answer beside it.", metavar="MODEL")] = None,
    write: Annotated[
        Path | None,
        typer.Option(help="Keep each question with its answer, as a forget set; each stands alone.", metavar="FILE"),
    ] = None,
    alone: Annotated[
        bool, typer.Option("--alone", help="Ask each question without those before it, as --write does.")
    ] = False,
    temperature: Annotated[float, typer.Option(min=0.0, max=100.0, help="0 takes the likeliest token.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="For answers above temperature 0.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The most tokens of an answer.")] = 200,
    template: TemplateSettings = USUAL,
    device: Device = "cpu",
    trust_remote_code: TrustCode = False,
) -> None:
    """Talk to a model; with --edit or --beside, to two side by side.

    /new starts over; /quit, Ctrl-C or Ctrl-D ends. From a pipe, every line is a question, shown before its answer. Each
    model remembers its own answers; with --plain, --alone or --write, every line stands alone. With the last two, a
    line may be a JSON object with 'question': so the model can be asked its training data.

    \b
    Example:
      mnemotomy chat Qwen/Qwen3-0.6B
      mnemotomy chat Qwen/Qwen3-0.6B --edit alice.safetensors
      mnemotomy chat Qwen/Qwen3-0.6B --beside edited-model --alone < questions.txt
      mnemotomy chat Qwen/Qwen3-0.6B --write alice.jsonl < questions.txt
    """
    if write is None:
        _converse(
            _speakers(model, edit, beside, template, device), _Talk(max_new_tokens, temperature, seed, alone=alone)
        )
        return
    if edit is not None or beside is not None:
        raise ConfigurationError("--write keeps the answers of one model; leave out --edit and --beside")
    check_file(write)
    if write.exists():
        raise DataError(f"{write} would be replaced; name another file, and join the two")
    speakers = _speakers(model, None, None, template, device)
    _converse(speakers, _Talk(max_new_tokens, temperature, seed, alone=True))
    _write_down(write, speakers[0].told)


def _converse(speakers: Sequence[_Speaker], talk: _Talk) -> None:
    try:
        for line in _lines(_question_of if talk.alone else str):
            if line == QUIT:
                return
            if line == NEW:
                for one in speakers:
                    one.told.clear()
            elif line:
                talk.answer(speakers, line)
    except (KeyboardInterrupt, EOFError):
        typer.echo()


def _question_of(line: str) -> str:
    """The question of a line of a data file, or the line itself."""
    from mnemotomy.core.json_text import read_json

    try:
        row = read_json(line) if line.startswith("{") else {}
    except ValueError:
        return line
    question = row.get("question")
    return question.strip() if isinstance(question, str) else line


def _write_down(path: Path, told: Sequence[tuple[str, str]]) -> None:
    """Write questions with their answers, each pair once.

    Raises:
        DataError: there is none.
    """
    from mnemotomy.core.files import write_text
    from mnemotomy.text.records import TextExample, json_lines_of

    pairs = dict.fromkeys((question, answer) for question, answer in told if answer.strip())
    if not pairs:
        raise DataError("no question was answered, so nothing was written; give a question on each line")
    write_text(path, json_lines_of(TextExample.of_question(*pair) for pair in pairs))
    say(f"{path}: {len(pairs)} questions with the model's answers; remove the lines that are not to be forgotten")


def talk_beside(before: nn.Module, after: nn.Module, tokenizer: Any, template: Template) -> None:
    """Ask two models side by side until /quit, Ctrl-C or Ctrl-D."""
    speakers = [_Speaker(title, one, tokenizer, template) for title, one in (("before", before), ("after", after))]
    _converse(speakers, _Talk(200, 0.0, 0))


@dataclass
class _Speaker:
    """A model with what it was asked and answered so far."""

    title: str
    model: nn.Module
    tokenizer: Any
    template: Template
    told: list[tuple[str, str]] = field(default_factory=list)

    def prompt(self, question: str, *, alone: bool = False) -> list[int]:
        """The tokens of the conversation up to the next answer; the oldest turns go where the window ends."""
        from mnemotomy.core.modules import window_of

        if alone:
            return self._tokens(question, [])
        window = window_of(self.model)
        tokens = self._tokens(question, self.told)
        while window is not None and len(tokens) >= window and self.told:
            del self.told[0]
            tokens = self._tokens(question, self.told)
        return tokens

    def _tokens(self, question: str, told: Sequence[tuple[str, str]]) -> list[int]:
        from mnemotomy.text.records import Turn
        from mnemotomy.text.tokenizing import encode_prompt

        template, tokenizer = self.template, self.tokenizer
        if template.uses_chat(tokenizer):
            *first, asked = template.asked(question)
            past = [turn for q, a in told for turn in (Turn("user", q), Turn("assistant", a))]
            return encode_prompt(
                tokenizer, template.fill(tokenizer, [*first, *past, asked], prompt=True), special_tokens=False
            )
        past_text = [] if template.plain else [f"{template.answered(q, a)}\n" for q, a in told]
        return encode_prompt(tokenizer, "".join([*past_text, template.tagged(question)]))


@dataclass
class _Talk:
    """How models answer.

    Attributes:
        turns: so far; with the seed, they give the random state of an answer.
        alone: whether each question is asked without those before it.
    """

    max_new_tokens: int
    temperature: float
    seed: int
    turns: int = 0
    alone: bool = False

    def answer(self, speakers: Sequence[_Speaker], question: str) -> None:
        """Every model's answer, shown while it writes: in columns on a terminal, else one after another."""
        self.turns += 1
        if len(speakers) > 1 and sys.stdout.isatty():
            self._in_columns(speakers, question)
            return
        for one in speakers:
            if len(speakers) > 1:
                typer.echo(f"{printable(one.title)}: ", nl=False)
            self._write(one, question, lambda text: typer.echo(printable(text), nl=False))
            typer.echo()

    def _in_columns(self, speakers: Sequence[_Speaker], question: str) -> None:
        from rich.live import Live
        from rich.table import Table
        from rich.text import Text

        table, texts = Table(box=None, expand=True, pad_edge=False), [Text() for _ in speakers]
        for one in speakers:
            table.add_column(Text(printable(one.title)), ratio=1)
        table.add_row(*texts)
        with Live(table):
            for one, text in zip(speakers, texts, strict=True):
                self._write(one, question, lambda piece, text=text: text.append(printable(piece)))  # type: ignore[misc]

    def _write(self, speaker: _Speaker, question: str, show: Callable[[str], Any]) -> None:
        from mnemotomy.core.modules import device_of
        from mnemotomy.core.seeds import mix, seeded
        from mnemotomy.observe.aloud import write_aloud

        with seeded(mix(self.seed, self.turns), device_of(speaker.model)):
            found = write_aloud(
                speaker.model,
                speaker.tokenizer,
                speaker.prompt(question, alone=self.alone),
                self.max_new_tokens,
                show,
                temperature=self.temperature,
            )
        speaker.told.append((question, found))


def _lines(read: Callable[[str], str]) -> Iterator[str]:
    """What is typed, or the lines of a pipe, without surrounding space, as they are read."""
    if sys.stdin.isatty():
        say(f"{NEW} starts over, {QUIT} ends", err=True)
        while True:
            yield read(input("> ").strip())
    reconfigure = getattr(sys.stdin, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="replace")
    for line in map(read, map(str.strip, sys.stdin)):
        if line not in ("", NEW, QUIT):
            typer.echo(printable(f"> {line}"))
        yield line


def _speakers(
    model: str, edit: Path | None, beside: str | None, settings: TemplateSettings, device: str
) -> list[_Speaker]:
    from mnemotomy.core.models import load_model, load_tokenizer, quiet_transformers
    from mnemotomy.core.sources import locate_model
    from mnemotomy.engram.edit import Edit, read_about
    from mnemotomy.text.template import check_template

    found, dtype, template = [], "float32", settings.made
    if edit is not None:
        dtype = read_about(edit).get("about", {}).get("recipe", {}).get("dtype", dtype)
    with quiet_transformers():
        for name in (model, *([beside] if beside is not None else [])):
            folder = locate_model(name)
            tokenizer = load_tokenizer(folder)
            check_template(tokenizer, name, settings.tags, template)
            found.append(_Speaker(name, load_model(folder, dtype=dtype, device=device), tokenizer, template))
        if edit is not None:
            first = found[0]
            edited = Edit.load(edit).apply(first.model, tied="untie")
            found.insert(1, _Speaker("after", edited, first.tokenizer, template))
            first.title = "before"
    return found
