"""What stands around a question and its answer: the tokenizer's chat template, tags if it has none, or nothing."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mnemotomy.core.bounded import TimeLimitError, time_limit
from mnemotomy.core.errors import DataError
from mnemotomy.core.scripts import UNSPACED
from mnemotomy.text.records import Turn

DATE = "10 Apr 2025"
"""Today's date in a chat template; without it, some templates write the real one, and numbers change every day."""


_SECONDS, _LONGEST = 10.0, 10**7  # for one text, and its characters


@dataclass(frozen=True)
class Template:
    """What stands around a question and its answer; the defaults are OpenUnlearning's.

    Attributes:
        system: the system message of a chat template; None for none.
        date: today's date in a chat template (``DATE``); None to let the template choose.
        before_question: for tokenizers without a chat template, as the next two.
        after_question: between the question and ``before_answer``.
        before_answer: announces the answer.
        plain: neither chat template nor tags: the answer continues the question, as in "Kyoto is a city in" "Japan".
    """

    system: str | None = "You are a helpful assistant."
    date: str | None = DATE
    before_question: str = "Question: "
    after_question: str = "\n"
    before_answer: str = "Answer: "
    plain: bool = False

    def asked(self, question: str) -> tuple[Turn, ...]:
        """The messages before the assistant's answer."""
        system = () if self.system is None else (Turn("system", self.system),)
        return (*system, Turn("user", question))

    def uses_chat(self, tokenizer: Any) -> bool:
        """Whether questions go through the tokenizer's chat template."""
        return not self.plain and has_chat_template(tokenizer)

    def tagged(self, question: str) -> str:
        """The prompt of a question without a chat template."""
        return question if self.plain else self.before_question + question + self.after_question + self.before_answer

    def answered(self, question: str, answer: str) -> str:
        """A question with its answer without a chat template; a plain one gets a space between words."""
        return self.tagged(question) + (_space(question, answer) if self.plain else "") + answer

    def fill(self, tokenizer: Any, turns: Sequence[Turn], *, prompt: bool = False) -> str:
        """The turns in the tokenizer's chat template; with ``prompt``, ready for the assistant's answer.

        Raises:
            DataError: the chat template refuses the messages, or takes too long or writes too much.
        """
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        date = {} if self.date is None else {"date_string": self.date}
        _check_powers(str(tokenizer.chat_template))
        try:
            with time_limit(_SECONDS):
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt, **date)
                if len(text) > _LONGEST:
                    raise ValueError(f"it writes {len(text)} characters for one text")
                return str(text)
        except TimeLimitError as error:
            raise DataError(
                f"the chat template takes more than {_SECONDS:g} s for one text; give the model another"
            ) from error
        except Exception as error:  # a template is a program of the folder's author
            why = str(error) or type(error).__name__
            raise DataError(
                f"the chat template refuses these messages: {why}; if it takes no system message, give "
                "Template(system=None), on the command line --system ''"
            ) from error


@functools.lru_cache
def _check_powers(template: str) -> None:
    """Refuse the operator ``**``: with large numbers it holds all threads, so that no time limit can stop it."""
    import jinja2

    with contextlib.suppress(jinja2.TemplateError):  # transformers reports it
        for _, kind, text in jinja2.Environment().lex(template):
            if kind == "operator" and text == "**":
                raise DataError(
                    "the chat template computes powers (**), which may take forever; give the model another"
                )


OPEN_UNLEARNING = Template()
"""The template of OpenUnlearning's evaluator; the default everywhere."""


@dataclass(frozen=True)
class TemplateSettings:
    """What a user changes in OpenUnlearning's template.

    Attributes:
        system: the system message of a chat template; None for OpenUnlearning's, empty for none.
        date: today's date in a chat template; likewise.
        tags: ask as ``Question: … Answer: …``; for tokenizers without a chat template.
        plain: ask with the question alone, which the answer continues.
    """

    system: str | None = None
    date: str | None = None
    tags: bool = False
    plain: bool = False

    @property
    def made(self) -> Template:
        """The template with these changes."""
        given = {"system": self.system, "date": self.date}
        changes: dict[str, Any] = {name: value or None for name, value in given.items() if value is not None}
        return replace(OPEN_UNLEARNING, plain=self.plain, **changes)

    @classmethod
    def of(cls, template: Template, tags: bool = False) -> TemplateSettings:
        """The settings of ``template``."""
        default = OPEN_UNLEARNING
        system = None if template.system == default.system else template.system or ""
        return cls(system, None if template.date == default.date else template.date or "", tags, template.plain)


def has_chat_template(tokenizer: Any) -> bool:
    """Whether the tokenizer has a chat template."""
    return bool(getattr(tokenizer, "chat_template", None))


def prompt_of(tokenizer: Any, question: str, template: Template) -> str:
    """The text before the answer; a chat template's includes its special tokens.

    It is what the chat template writes before an answer that is there, with any text of its own, such as an empty
    reasoning block: a model is asked as it is scored and trained. The template's prompt for generation is used where
    the two differ by spaces alone, which tokenizers join with the answer.

    Raises:
        DataError: the chat template refuses the messages, or drops the answer.
    """
    if not template.uses_chat(tokenizer):
        return template.tagged(question)
    turns = template.asked(question)
    before = around_answers(tokenizer, (*turns, Turn("assistant", "")), template)[0]
    prompt = template.fill(tokenizer, turns, prompt=True)
    return prompt if prompt.rstrip() == before.rstrip() else before


def writes_of_its_own(tokenizer: Any, template: Template) -> list[str]:
    """What the chat template writes around an answer besides its prompt and the end token; empty for most."""
    if not template.uses_chat(tokenizer):
        return []
    turns = template.asked("")
    around = around_answers(tokenizer, (*turns, Turn("assistant", "")), template)
    usual = [template.fill(tokenizer, turns, prompt=True), str(tokenizer.eos_token)]
    return [] if around == usual else around


def around_answers(tokenizer: Any, turns: Sequence[Turn], template: Template) -> list[str]:
    """What a chat template writes before, between and after the assistant's words: it is filled with marks for them.

    Raises:
        DataError: the chat template refuses the messages, or drops the assistant's words.
    """
    words = {place: f"<mnemotomy-content-{place}>" for place, turn in enumerate(turns) if turn.role == "assistant"}
    marked = [Turn(turn.role, words.get(place, turn.content)) for place, turn in enumerate(turns)]
    pieces, rest = [], template.fill(tokenizer, marked)
    for mark in words.values():
        piece, found, rest = rest.partition(mark)
        if not found:
            raise DataError("the chat template drops or rewrites what the assistant says; give the line as 'text'")
        pieces.append(piece)
    return [*pieces, rest]


def check_template(tokenizer: Any, name: str, tags: bool, template: Template = OPEN_UNLEARNING) -> None:
    """Do not choose silently what stands around questions: scores and edits depend on it.

    Args:
        name: the model's, for the error.
        tags: whether the user asked for ``Question: … Answer: …``.

    Raises:
        DataError: the tokenizer has a chat template and ``tags`` is True; or it has none, and ``tags`` is False or a
            system message or date was given; or the template is plain and something was given that it ignores.
    """
    changed = [one for one in ("system", "date") if getattr(template, one) != getattr(OPEN_UNLEARNING, one)]
    if template.plain:
        ignored = [*(["tags"] if tags else []), *changed]
        if ignored:
            raise DataError(
                f"--plain asks with the question alone; leave out {' and '.join('--' + o for o in ignored)}"
            )
        return
    if has_chat_template(tokenizer):
        if tags:
            raise DataError(
                f"--tags is for tokenizers without a chat template, but the tokenizer of {name} has one; leave it out"
            )
        return
    if changed:
        options = " and ".join(f"--{option}" for option in changed)
        raise DataError(
            f"the tokenizer of {name} has no chat template for {options}; leave it out, and give --tags "
            "to ask as 'Question: … Answer: …'"
        )
    if not tags:
        raise DataError(
            f"the tokenizer of {name} has no chat template; give --tags to ask as 'Question: … Answer: …', or --plain "
            "if the answers continue the questions (in a recipe 'template: {tags: true}' or '{plain: true}')"
        )


def _space(before: str, after: str) -> str:
    """What stands between two parts of a text: nothing in scripts that are written without spaces."""
    borders = (before[-1:], after[:1])
    return "" if any(not c or c.isspace() or UNSPACED.match(c) for c in borders) else " "
