"""A question with its answer as a model reads them: the prompt, the answer's tokens, the end token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from jinja2 import TemplateError

from mnemotomy.core.errors import DataError
from mnemotomy.text.encoding import DATE
from mnemotomy.text.prompts import encode_prompt
from mnemotomy.text.tokenizing import common_length, tokenized


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


OPEN_UNLEARNING = Template()
"""The template of OpenUnlearning's evaluator."""


class EncodedAnswer(NamedTuple):
    """The tokens of a prompt, its answer and the end; ``start`` is the position of the answer's first token."""

    input_ids: list[int]
    start: int

    @property
    def labels(self) -> list[int]:
        """The tokens to predict: the answer's, and the end token as the last."""
        return self.input_ids[self.start :]


def has_chat_template(tokenizer: Any) -> bool:
    """Whether questions go through the tokenizer's own template."""
    return bool(getattr(tokenizer, "chat_template", None))


def prompt_of(tokenizer: Any, question: str, template: Template) -> str:
    """The text up to where the answer begins; a chat template has written its special tokens into it.

    Raises:
        DataError: the chat template refuses the messages.
    """
    if has_chat_template(tokenizer):
        return _fill(tokenizer, _messages(question, template), template, prompt=True)
    return template.before_question + question + template.after_question + template.before_answer


def encode_answer(tokenizer: Any, question: str, answer: str, template: Template) -> EncodedAnswer:
    """The tokens of a question with its answer, as OpenUnlearning's evaluator labels them.

    The whole is tokenised at once, and what follows the prompt's own tokens is the answer, with whatever the template
    writes behind it; an end token is added where the last is none. A token that straddles the border belongs to the
    answer, as everywhere in Mnemotomy; OpenUnlearning drops it, which happens only without a chat template.

    Raises:
        DataError: the answer gives no token, the prompt leaves nothing to predict it from, the tokenizer has no end
            token, or the chat template refuses the messages.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise DataError("the tokenizer has no end token; set its eos_token")
    if not answer.strip() or not tokenized(tokenizer, answer.strip(), add_special_tokens=False)["input_ids"]:
        raise DataError(f"the answer {answer!r} to {question!r} gives no token; give one that does, or leave it out")
    chat = has_chat_template(tokenizer)
    prompt = prompt_of(tokenizer, question, template)
    if chat:
        messages = [*_messages(question, template), {"role": "assistant", "content": answer}]
        text = _fill(tokenizer, messages, template, prompt=False)
    else:
        text = prompt + answer
    before = encode_prompt(tokenizer, prompt, special_tokens=not chat)
    ids = encode_prompt(tokenizer, text, special_tokens=not chat)
    if ids[-1] != end:
        ids.append(end)
    start = common_length(before, ids)
    if start == 0:
        raise DataError(f"nothing stands before the answer to {question!r}; begin the template with a token of its own")
    if len(ids) - start < 2:
        raise DataError(f"the chat template drops the answer {answer!r} to {question!r}")
    return EncodedAnswer(ids, start)


def _messages(question: str, template: Template) -> list[dict[str, str]]:
    system = [] if template.system is None else [{"role": "system", "content": template.system}]
    return [*system, {"role": "user", "content": question}]


def _fill(tokenizer: Any, messages: list[dict[str, str]], template: Template, *, prompt: bool) -> str:
    date = {} if template.date is None else {"date_string": template.date}
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt, **date))
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"the chat template refuses these messages: {error}; where it knows no system message, give "
            "Template(system=None), on the command line --system ''"
        ) from error
