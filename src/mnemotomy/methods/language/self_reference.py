"""A reference for users who have only a forget set: texts that the model writes itself.

The model also writes about what it is to forget, so these texts spare a little of that. A real retain set is the better
reference.
"""

from __future__ import annotations

import functools
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import nn

from mnemotomy.core.errors import ConfigurationError, DataError, ModelError
from mnemotomy.core.modules import device_of, window_of
from mnemotomy.core.progress import progress_bar
from mnemotomy.core.seeds import seeded
from mnemotomy.observe.generation import check_writes, continue_sampled
from mnemotomy.observe.writings import Writings
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import OPEN_UNLEARNING, Template, prompt_of
from mnemotomy.text.tokenizing import encode_prompt

_MARK = "mnemotomy-question"
_ATTEMPTS = 3  # to replace empty texts


@dataclass(frozen=True)
class SelfReference:
    """How a model writes a reference: sampled from the whole vocabulary.

    Attributes:
        count: number of examples.
        opening: what the model writes first, given a chat template. ``question``: the user's turn and then its answer
            (Xu et al. 2024, Magpie); ``answer``: the assistant's turn alone, to an empty question, for models that
            were trained on answers only. Without a chat template, the model starts a plain text.
        temperature: of the sampling; 1 for the model's own distribution.
        max_new_tokens: of each question, and of each answer.
        batch_size: examples at a time.
        seed: the same seed and batch size give the same examples.

    Raises:
        ConfigurationError: a value is out of range.
    """

    count: int = 2000
    opening: Literal["question", "answer"] = "question"
    temperature: float = 1.0
    max_new_tokens: int = 100
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.count, self.max_new_tokens, self.batch_size) < 1 or not self.temperature > 0.0:
            raise ConfigurationError("count, max_new_tokens, batch_size and temperature are above 0")
        if self.opening not in ("question", "answer"):
            raise ConfigurationError(f"opening is 'question' or 'answer', not {self.opening!r}")


def self_reference_of(text: str) -> SelfReference | None:
    """The settings that ``self`` or ``self:2000`` stands for; None for any other text, such as a file name.

    Raises:
        ConfigurationError: the count is not a whole number above 0.
    """
    match = re.fullmatch(r"self(?::(.*))?", text)
    if match is None:
        return None
    if match[1] is None:
        return SelfReference()
    if not re.fullmatch(r"[1-9]\d{0,8}", match[1]):
        raise ConfigurationError(f"{text!r}: give the number of texts to write, as in self:2000")
    return SelfReference(int(match[1]))


def write_reference(
    model: nn.Module,
    tokenizer: Any,
    how: SelfReference,
    template: Template = OPEN_UNLEARNING,
    writings: Writings | None = None,
) -> list[TextExample]:
    """Let ``model`` write examples; the model and the global random state are left unchanged.

    Args:
        writings: keep each batch; none is kept by default.

    Returns:
        Questions with answers where the tokenizer has a chat template, plain texts otherwise.

    Raises:
        DataError: the tokenizer has no padding token, or no token to start a text with.
        ModelError: the model cannot generate, or writes nothing.
    """
    check_writes(model, tokenizer)
    found, writings = list[list[str]](), writings or Writings()
    with seeded(how.seed, device_of(model)), progress_bar("writing a reference", how.count) as advance:
        for number in range(_ATTEMPTS * -(-how.count // how.batch_size)):
            size = min(how.batch_size, how.count - len(found))
            if not size:
                break
            batch = functools.partial(_write, model, tokenizer, how, template, size)
            new = writings.piece(("reference", asdict(how), asdict(template), number), batch)
            found += new
            advance(len(new))
    if len(found) < how.count:
        raise ModelError(
            f"the model left {how.count - len(found)} of {how.count} texts empty; give a reference file, or opening="
            "'answer'"
        )
    return [
        TextExample.of_question(one[0], one[1], f"written by the model, {number}")
        if len(one) == 2
        else TextExample.of_text(one[0], f"written by the model, {number}")
        for number, one in enumerate(found, start=1)
    ]


def _write(model: nn.Module, tokenizer: Any, how: SelfReference, template: Template, size: int) -> list[list[str]]:
    """At most ``size`` texts, or questions with their answers; empty ones are dropped."""
    if not template.uses_chat(tokenizer):
        begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if begin is None:
            raise DataError("the tokenizer has neither a BOS nor an EOS token to start a text with; set its bos_token")
        texts = continue_sampled(model, tokenizer, [[begin]] * size, how.max_new_tokens, temperature=how.temperature)
        return [[text] for text in texts if text]
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
    # a question that fills the window leaves no room for any answer in its batch
    fits = [window is None or 4 * len(prompt) <= 3 * window for prompt in prompts]
    questions = [question for question, fit in zip(questions, fits, strict=True) if fit]
    prompts = [prompt for prompt, fit in zip(prompts, fits, strict=True) if fit]
    if not prompts:
        return []
    answers = continue_sampled(model, tokenizer, prompts, how.max_new_tokens, temperature=how.temperature)
    return [[question, answer] for question, answer in zip(questions, answers, strict=True) if answer]
