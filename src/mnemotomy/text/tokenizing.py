"""What every use of a tokenizer needs: one call, whose own errors become ours; prompts and what follows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mnemotomy.core.errors import DataError


def tokenized(tokenizer: Any, text: str, **options: Any) -> Any:
    """What ``tokenizer`` makes of a text, without warnings of its length.

    Args:
        tokenizer: of transformers.
        text: to be cut into tokens.
        options: of the call, as ``add_special_tokens``.

    Raises:
        DataError: the text has a word outside the vocabulary, and the tokenizer no token for unknown ones.
    """
    try:
        return tokenizer(text, verbose=False, **options)
    except Exception as error:
        if type(error) is not Exception:  # the tokenizers library raises the bare class, and nothing narrower
            raise
        raise DataError(
            f"the tokenizer cannot read {text!r}: {error}; give it an unknown token, or leave the text out"
        ) from error


def padding_token(tokenizer: Any) -> int:
    """What fills a batch up: the tokenizer's padding token, or its end token.

    Raises:
        DataError: it has neither.
    """
    found = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if found is None:
        raise DataError("the tokenizer has no padding token; set its pad_token")
    return int(found)


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """The length of the longest common prefix."""
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


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


def encode_with_answer(tokenizer: Any, prompt: str, answer: str, separator: str = " ") -> tuple[list[int], int]:
    """The tokens of a prompt with its answer, and the position of the first that holds some of the answer.

    All is tokenised together, since what a token is depends on what stands before it. A separator's token belongs to
    the answer where it holds some of it, as in " Japan", and else to what the model reads before: some tokenizers keep
    a space apart from a digit, and words, as in "\\nAnswer: ", always are.

    Raises:
        DataError: the answer gives no token, or its first token swallows the end of the prompt, so that nothing could
            be predicted where the prompt ends.
    """
    before, whole = encode_prompt(tokenizer, prompt), encode_prompt(tokenizer, prompt + separator + answer)
    start = common_length(encode_prompt(tokenizer, prompt + separator), whole)
    if start < len(before):
        raise DataError(
            f"the tokens of {prompt!r} change when {separator + answer!r} follows; end the prompt at a word and give "
            "the space after it as the separator"
        )
    if start == len(whole):
        raise DataError(f"the answer {answer!r} to {prompt!r} gives no token")
    return whole, start
