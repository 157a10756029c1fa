"""Whether a generated text gives an answer."""

from __future__ import annotations

import re

from mnemotomy.core.errors import DataError


def answers_match(text: str, answer: str) -> bool:
    """Whether the text begins with the answer as a whole word, ignoring case and surrounding space.

    Raises:
        DataError: the answer is empty.
    """
    wanted = answer.strip()
    if not wanted:
        raise DataError("an empty answer matches every text")
    return re.match(rf"{re.escape(wanted)}(?!\w)", text.strip(), re.IGNORECASE) is not None
