"""Calls of a tokenizer: its errors as ours, prompts, and prompts with answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mnemotomy.core.errors import DataError


def tokenized(tokenizer: Any, text: str, **options: Any) -> Any:
    """The tokenizer's output for a text, without warnings about its length.

    Raises:
        DataError: a word is outside the vocabulary, and the tokenizer has no unknown token.
    """
    try:
        return tokenizer(text, verbose=False, **options)
    except Exception as error:
        # the tokenizers library raises the bare class; half a surrogate pair is no text to it
        if type(error) is not Exception and not any("\ud800" <= letter <= "\udfff" for letter in text):
            raise
        raise DataError(
            f"the tokenizer cannot read {text!r}: {error}; give it an unknown token, or leave the text out"
        ) from error


def padding_token(tokenizer: Any) -> int:
    """The tokenizer's padding token, or its end token.

    Raises:
        DataError: it has neither.
    """
    found = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if found is None:
        raise DataError("the tokenizer has no padding token; set its pad_token")
    return int(found)


def special_tokens(tokenizer: Any) -> set[int]:
    """The tokens that stand for no text: the named ones but the unknown token, and added ones marked as special."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    marked = {*tokenizer.all_special_ids, *(number for number, token in added.items() if token.special)}
    ends = [getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "pad")]
    return marked - ({getattr(tokenizer, "unk_token_id", None)} - set(ends))


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """The length of the longest common prefix."""
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


def encode_prompt(tokenizer: Any, prompt: str, *, special_tokens: bool = True) -> list[int]:
    """The tokens of a prompt to be continued, without the end token that some tokenizers append.

    Args:
        prompt: as the model reads it.
        special_tokens: whether the tokenizer adds its own; not after a chat template, which has done so.

    Raises:
        DataError: the prompt has no tokens, or has a word that the tokenizer cannot read.
    """
    ids = list(tokenized(tokenizer, prompt, add_special_tokens=special_tokens)["input_ids"])
    if special_tokens and ids and ids[-1] == tokenizer.eos_token_id:
        ids.pop()
    if not ids:
        raise DataError(f"the prompt {prompt!r} has no tokens; give a text to continue")
    return ids


def encode_with_answer(tokenizer: Any, prompt: str, answer: str, separator: str = " ") -> tuple[list[int], int]:
    """The tokens of a prompt with its answer, and the position of the answer's first token.

    Both are tokenised together, since tokens depend on what precedes them. A token of the separator belongs to the
    answer if it contains some of it, as in " Japan". Otherwise it belongs to the prompt: some tokenizers split a space
    from a digit, and all split words, as in "\\nAnswer: ".

    Raises:
        DataError: the answer has no tokens, or its first token swallows the end of the prompt, so that nothing can be
            predicted where the prompt ends.
    """
    before, whole = encode_prompt(tokenizer, prompt), encode_prompt(tokenizer, prompt + separator + answer)
    start = common_length(encode_prompt(tokenizer, prompt + separator), whole)
    if start < len(before):
        raise DataError(
            f"the tokens of {prompt!r} change when {separator + answer!r} follows; end the prompt at a word and give "
            "the space after it as the separator"
        )
    if start == len(whole):
        raise DataError(f"the answer {answer!r} to {prompt!r} has no tokens; give another")
    return whole, start
