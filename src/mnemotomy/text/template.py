"""What stands around a question and its answer: a tokenizer's chat template, or tags where it has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mnemotomy.core.errors import DataError
from mnemotomy.text.records import Turn

DATE = "10 Apr 2025"
"""What a chat template writes as today's date; without one, some write the day's, and numbers change with it."""


@dataclass(frozen=True)
class Template:
    """What stands around a question and its answer; the defaults are OpenUnlearning's.

    Attributes:
        system: the system message of a chat template; None for none.
        date: what a chat template writes as today's date; without one, some write the day's, which changes the scores.
        before_question: for tokenizers without a chat template, as are the next two.
        after_question: between the question and what announces the answer.
        before_answer: announces the answer.
    """

    system: str | None = "You are a helpful assistant."
    date: str | None = DATE
    before_question: str = "Question: "
    after_question: str = "\n"
    before_answer: str = "Answer: "

    def asked(self, question: str) -> tuple[Turn, ...]:
        """The messages up to where the assistant answers."""
        system = () if self.system is None else (Turn("system", self.system),)
        return (*system, Turn("user", question))

    def tagged(self, question: str) -> str:
        """The prompt of a question for a tokenizer without a chat template."""
        return self.before_question + question + self.after_question + self.before_answer

    def fill(self, tokenizer: Any, turns: Sequence[Turn], *, prompt: bool = False) -> str:
        """The turns through the tokenizer's chat template, up to where the assistant answers if ``prompt``.

        Raises:
            DataError: the chat template refuses the messages.
        """
        from jinja2 import TemplateError

        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        date = {} if self.date is None else {"date_string": self.date}
        try:
            return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt, **date))
        except (TemplateError, ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"the chat template refuses these messages: {error}; where it knows no system message, give "
                "Template(system=None), on the command line --system ''"
            ) from error


OPEN_UNLEARNING = Template()
"""The template of OpenUnlearning's evaluator, and everybody's default."""


def has_chat_template(tokenizer: Any) -> bool:
    """Whether questions go through the tokenizer's own template."""
    return bool(getattr(tokenizer, "chat_template", None))


def prompt_of(tokenizer: Any, question: str, template: Template) -> str:
    """The text up to where the answer begins; a chat template has written its special tokens into it.

    Raises:
        DataError: the chat template refuses the messages.
    """
    if has_chat_template(tokenizer):
        return template.fill(tokenizer, template.asked(question), prompt=True)
    return template.tagged(question)


def check_template(tokenizer: Any, name: str, tags: bool, template: Template = OPEN_UNLEARNING) -> None:
    """Refuse to choose in silence what stands around questions: scores and edits depend on it.

    Args:
        tokenizer: of transformers.
        name: the model's, for the error.
        tags: whether ``Question: … Answer: …`` was asked for.
        template: what stands around questions and answers.

    Raises:
        DataError: the tokenizer has no chat template and tags were not asked for, or it has one and they were, or what
            belongs into a chat template was given without one.
    """
    if has_chat_template(tokenizer):
        if tags:
            raise DataError(
                f"--tags is for tokenizers without a chat template, and that of {name} has one; leave it out"
            )
        return
    changed = [one for one in ("system", "date") if getattr(template, one) != getattr(OPEN_UNLEARNING, one)]
    if changed:
        options = " and ".join(f"--{option}" for option in changed)
        raise DataError(
            f"the tokenizer of {name} has no chat template, where {options} would stand; leave it out, and give --tags "
            "to ask as 'Question: … Answer: …'"
        )
    if not tags:
        raise DataError(
            f"the tokenizer of {name} has no chat template; give --tags to ask as 'Question: … Answer: …' (in a recipe "
            "'template: {tags: true}'), or set one"
        )
