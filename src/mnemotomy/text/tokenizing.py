"""What every use of a tokenizer needs: one call, whose own errors become ours, what pads, where texts part."""

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
