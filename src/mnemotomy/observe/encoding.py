"""Prompts and the first tokens of their answers, as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mnemotomy.data.tokenizing import tokenized
from mnemotomy.errors import DataError


def encode_prompt(tokenizer: Any, prompt: str, *, special_tokens: bool = True) -> list[int]:
    """The tokens of a prompt that is to be continued: without the end that some tokenizers append.

    Args:
        tokenizer: of transformers.
        prompt: as the model reads it.
        special_tokens: whether the tokenizer adds what it puts before a text; not where a chat template has done so.

    Raises:
        DataError: the prompt gives no token, or has a word that the tokenizer cannot read.
    """
    ids = list(tokenized(tokenizer, prompt, add_special_tokens=special_tokens)["input_ids"])
    if special_tokens and ids and ids[-1] == tokenizer.eos_token_id:
        ids.pop()
    if not ids:
        raise DataError(f"the prompt {prompt!r} gives no token; write something to continue")
    return ids


def encode_prompts(tokenizer: Any, prompts: Sequence[str], *, special_tokens: bool = True) -> list[list[int]]:
    """The tokens of each prompt.

    Raises:
        DataError: there is no prompt, or one gives no token.
    """
    if not prompts:
        raise DataError("there are no prompts to observe")
    return [encode_prompt(tokenizer, prompt, special_tokens=special_tokens) for prompt in prompts]


def first_answer_token(tokenizer: Any, prompt: str, answer: str, separator: str = " ") -> int:
    """The first token of the answer where it follows the prompt.

    Prompt and answer are tokenised together, since what a token is depends on what stands before it.

    Raises:
        DataError: the answer gives no token, or its first token swallows the end of the prompt, so that nothing could
            be predicted where the prompt ends.
    """
    before = encode_prompt(tokenizer, prompt)
    together = encode_prompt(tokenizer, prompt + separator + answer)
    if together[: len(before)] != before:
        raise DataError(
            f"the tokens of {prompt!r} change when {separator + answer!r} follows; end the prompt at a word and give "
            "the space after it as the separator"
        )
    if len(together) == len(before):
        raise DataError(f"the answer {answer!r} to {prompt!r} gives no token")
    return together[len(before)]
