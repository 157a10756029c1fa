"""The form of a generated solution: steps, sentences, equations, and the number that it ends in (Section 5.5)."""

from __future__ import annotations

import re
from dataclasses import dataclass

# a mark opens a line or a sentence, after any Markdown prefix
_OPENING = r"(?:^[^\S\n]*(?:[>*#_-]+[^\S\n]*)*|(?<=[.!?:][^\S\n])[*_]*)"
_STEP = re.compile(
    rf"{_OPENING}(?:(?:\d{{1,2}}[.)][^\S\n]+)?[*_]*step[^\S\n]+\d+\b[.:)]?|\d{{1,2}}[.)](?=\s))",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)*_]*(?=\s|$)|\n")
_EQUATION = re.compile(r"\d[\d,.]*[%)]*[^\S\n]*(?:[^\W\d_]+[^\S\n]*)?\)*[^\S\n]*=(?=[^\S\n]*[-−(]*[$€£]?\.?\d)")
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w)])[-−])?[$€£]?(?P<size>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\w)\.\d+)"
)


@dataclass(frozen=True)
class Structure:
    """Counts of what a worked solution contains.

    Attributes:
        words: pieces between spaces with a letter or a digit.
        sentences: pieces between full stops or line ends with a letter or digit; a step's mark does not count.
        numbered_steps: "Step 1", "1." or "1)" where a line or a sentence begins.
        equations: an equals sign after a number, with at most a unit between, and before a number.
    """

    words: int
    sentences: int
    numbered_steps: int
    equations: int


def structure(text: str) -> Structure:
    """Count what Section 5.5 calls scaffolding in one generated text."""
    return Structure(words(text), sentences(text), numbered_steps(text), equations(text))


def words(text: str) -> int:
    """Pieces between spaces with a letter or a digit."""
    return sum(any(character.isalnum() for character in piece) for piece in text.split())


def sentences(text: str) -> int:
    """Pieces between full stops, question or exclamation marks, or line ends; abbreviations count as ends too."""
    pieces = _SENTENCE_END.split(_STEP.sub(" ", text))
    return sum(any(character.isalnum() for character in piece) for piece in pieces)


def numbered_steps(text: str) -> int:
    """Marks such as "Step 1", "1." or "1)" where a line or a sentence begins."""
    return len(_STEP.findall(text))


def equations(text: str) -> int:
    """Equals signs between numbers: "48 / 2 = 24", "48 / 2 clips = $24"; a chain counts each of its signs."""
    return sum(1 for _ in _EQUATION.finditer(text))


def final_number(text: str) -> float | None:
    """The number after ``####``, as GSM8K marks it, or else the last one in the text; None if there is none."""
    _, mark, marked = text.partition("####")
    after = _NUMBER.search(marked) if mark else None
    found = [after] if after else list(_NUMBER.finditer(text))
    if not found:
        return None
    size = float(found[-1]["size"].replace(",", ""))
    return -size if found[-1]["sign"] else size
