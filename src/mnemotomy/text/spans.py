"""Where words stand among the tokens of a text."""

from __future__ import annotations

import re
from typing import Any

from mnemotomy.core.errors import DataError
from mnemotomy.text.tokenizing import tokenized


def token_positions(
    tokenizer: Any, text: str, span: str, *, within: str | None = None, special_tokens: bool = True
) -> list[int]:
    """The positions of the tokens that share a character with the last occurrence of ``span``.

    A whole word is preferred: "Oman" is found in "Romania" only if it occurs nowhere else.

    Args:
        tokenizer: a fast transformers tokenizer.
        text: as it is tokenised for the model.
        span: what to find, such as the evidence or the subject.
        within: the part of the text to search, such as its context; by default all of it.
        special_tokens: whether the tokenizer adds its own.

    Raises:
        DataError: the span or the part does not occur, no token covers it, or the tokenizer has no offsets.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise DataError("token positions need a fast tokenizer, which knows where its tokens stand in the text")
    start, end = _last_occurrence(text, span, within)
    encoding = tokenized(tokenizer, text, add_special_tokens=special_tokens, return_offsets_mapping=True)
    offsets = encoding["offset_mapping"]
    positions = [position for position, (first, last) in enumerate(offsets) if first < end and start < last]
    if not positions:
        raise DataError(f"no token of {text!r} covers {span!r}")
    return positions


def _last_occurrence(text: str, span: str, within: str | None) -> tuple[int, int]:
    part = text if within is None else within
    shift = text.find(part)
    if shift < 0:
        raise DataError(f"{part!r} is not a part of {text!r}")
    if not span.strip():
        raise DataError("the span to find is empty")
    words = [match.start() for match in re.finditer(rf"(?<!\w){re.escape(span)}(?!\w)", part)]
    start = words[-1] if words else part.rfind(span)
    if start < 0:
        raise DataError(f"{span!r} does not occur in {part!r}")
    return shift + start, shift + start + len(span)
