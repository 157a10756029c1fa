"""Scripts that are written without spaces between words."""

from __future__ import annotations

import re
import unicodedata

_LETTERS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)

UNSPACED = re.compile(f"[{_LETTERS}]")
"""A character of Thai, Lao, Burmese, Khmer, Japanese or Chinese."""

JOINED = re.compile(f"[{_LETTERS}\u0f00-\u0fff\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")
"""The same, or of Korean or Tibetan, whose particles follow a word without a space."""

_BEFORE = "เแโใไເແໂໃໄ"  # vowels that are written before their consonant
_WORD = re.compile(rf"[^\s{_LETTERS}]+|(?!\s)[{_LETTERS}]")


def word_ends(text: str) -> list[int]:
    """Where each word ends; in ``UNSPACED`` scripts, where each letter does, with its marks and punctuation."""
    ends: list[int] = []
    for word in _WORD.finditer(text):
        belongs = UNSPACED.match(word[0]) and unicodedata.category(word[0][0])[0] in "MP"
        if ends and (belongs or text[ends[-1] - 1] in _BEFORE):
            ends.pop()
        ends.append(word.end())
    return ends
