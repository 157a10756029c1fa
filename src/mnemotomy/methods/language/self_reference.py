"""A reference for those who have only the thing to forget: texts that the model writes itself.

It writes of what is to be forgotten too, in the measure of its training: as a reference, these texts spare a little of
it. Texts to retain, where there are any, are the better reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from mnemotomy.core.errors import ConfigurationError, DataError, ModelError
from mnemotomy.core.modules import device_of, window_of
from mnemotomy.core.progress import progress_bar
from mnemotomy.observe.generation import check_writes, continue_sampled
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import OPEN_UNLEARNING, Template, has_chat_template, prompt_of
from mnemotomy.text.tokenizing import encode_prompt

_MARK = "mnemotomy-question"
_ATTEMPTS = 3  # to fill up what came out empty


@dataclass(frozen=True)
class SelfReference:
    """How a model is made to write: from the whole vocabulary, at a temperature, by a seed.

    Attributes:
        count: examples.
        opening: with a chat template, what the model writes first. ``question`` for the user's turn and then the
            answer to it (Xu et al. 2024, Magpie); ``answer`` for the assistant's turn alone, to an empty question: for
            models that were trained on answers only, and write no questions. Without a template, it is the
            beginning of a text in any case.
        temperature: of the sampling; 1 for the model's own distribution.
        max_new_tokens: of each question, and of each answer.
        batch_size: examples at a time.
        seed: the same examples for the same seed and batch size.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    count: int = 2000
    opening: Literal["question", "answer"] = "question"
    temperature: float = 1.0
    max_new_tokens: int = 100
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.count, self.max_new_tokens, self.batch_size) < 1 or not self.temperature > 0.0:
            raise ConfigurationError("examples, new tokens, batch size and temperature are above 0")
        if self.opening not in ("question", "answer"):
            raise ConfigurationError(f"the opening is 'question' or 'answer', not {self.opening!r}")


def self_reference_of(text: str) -> SelfReference | None:
    """What ``self`` or ``self:2000`` asks for; None where the text is something else, as a file's name.

    Raises:
        ConfigurationError: the count is no whole number above 0.
    """
    match = re.fullmatch(r"self(?::(.*))?", text)
    if match is None:
        return None
    if match[1] is None:
        return SelfReference()
    if not re.fullmatch(r"[1-9]\d{0,8}", match[1]):
        raise ConfigurationError(f"{text!r}: give how many texts the model is to write, as in self:2000")
    return SelfReference(int(match[1]))


def self_reference(
    model: nn.Module, tokenizer: Any, count: int = 2000, *, template: Template = OPEN_UNLEARNING, seed: int = 0
) -> list[TextExample]:
    """``count`` examples that the model writes, as ``SelfReference`` has it by default; see ``write_reference``."""
    return write_reference(model, tokenizer, SelfReference(count, seed=seed), template)


def write_reference(
    model: nn.Module, tokenizer: Any, how: SelfReference, template: Template = OPEN_UNLEARNING
) -> list[TextExample]:
    """Let ``model`` write examples; it is left as it was found, and so is the global random state.

    Args:
        model: a causal language model of transformers.
        tokenizer: the model's, with a padding token.
        how: and how many.
        template: what stands around questions and answers.

    Returns:
        Questions with answers where the tokenizer has a chat template, texts where it has none.

    Raises:
        DataError: the tokenizer has no padding token, or no token to begin a text with.
        ModelError: the model cannot generate, or writes nothing.
    """
    check_writes(model, tokenizer)
    device = device_of(model)
    found: list[TextExample] = []
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        progress_bar("writing a reference", how.count) as advance,
    ):
        torch.manual_seed(how.seed)
        for _ in range(_ATTEMPTS * -(-how.count // how.batch_size)):
            size = min(how.batch_size, how.count - len(found))
            if not size:
                break
            new = _write(model, tokenizer, how, template, size)
            found += new
            advance(len(new))
    if len(found) < how.count:
        raise ModelError(
            f"the model ended {how.count - len(found)} of {how.count} texts before it wrote a word; give a reference "
            "file, or let it begin with an answer"
        )
    return [TextExample(one.form, one.turns, f"written by the model, {n}") for n, one in enumerate(found, start=1)]


def _write(model: nn.Module, tokenizer: Any, how: SelfReference, template: Template, size: int) -> list[TextExample]:
    """At most ``size`` examples: those that did not come out empty."""
    if not has_chat_template(tokenizer):
        begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if begin is None:
            raise DataError("the tokenizer has neither a first nor an end token to begin a text with")
        texts = continue_sampled(model, tokenizer, [[begin]] * size, how.max_new_tokens, temperature=how.temperature)
        return [TextExample.of_text(text) for text in texts if text]
    questions = [""] * size
    if how.opening == "question":
        before, _, after = prompt_of(tokenizer, _MARK, template).partition(_MARK)
        ends = encode_prompt(tokenizer, after, special_tokens=False)[:1] if after else []
        prompt = encode_prompt(tokenizer, before, special_tokens=False)
        asked = continue_sampled(
            model, tokenizer, [prompt] * size, how.max_new_tokens, temperature=how.temperature, ends=ends
        )
        questions = [text for text in asked if text]
    prompts = [
        encode_prompt(tokenizer, prompt_of(tokenizer, question, template), special_tokens=False)
        for question in questions
    ]
    window = window_of(model)
    # a question that fills the window leaves no room for its answer, nor for those of the others
    fits = [window is None or 4 * len(prompt) <= 3 * window for prompt in prompts]
    questions = [question for question, fit in zip(questions, fits, strict=True) if fit]
    prompts = [prompt for prompt, fit in zip(prompts, fits, strict=True) if fit]
    if not prompts:
        return []
    answers = continue_sampled(model, tokenizer, prompts, how.max_new_tokens, temperature=how.temperature)
    return [
        TextExample.of_question(question, answer) for question, answer in zip(questions, answers, strict=True) if answer
    ]
