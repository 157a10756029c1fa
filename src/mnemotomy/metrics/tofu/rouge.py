"""ROUGE of written answers, by OpenUnlearning's words or by Unicode's."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Sequence
from typing import Any, Literal, get_args

from mnemotomy.core.errors import ConfigurationError, DataError
from mnemotomy.core.scripts import UNSPACED

Words = Literal["ascii", "unicode"]
"""What counts as a word. ``ascii``: a to z and digits, as in OpenUnlearning; other letters are dropped. ``unicode``:
letters and digits of every script with their combining marks; single characters where words are not spaced."""


def check_words(words: str) -> None:
    """Refuse unknown words.

    Raises:
        ConfigurationError: they are not one of ``Words``.
    """
    if words not in get_args(Words):
        raise ConfigurationError(f"the words of ROUGE are 'ascii' or 'unicode', not {words!r}")


def rouge(generated: Sequence[str], answers: Sequence[str], words: Words = "ascii") -> dict[str, list[float]]:
    """``rouge1_recall``, ``rougeL_f1`` and ``rougeL_recall`` of each answer, each in [0, 1] (Lin 2004).

    Words are stemmed if they are ASCII, as in OpenUnlearning, which reports ``rougeL_recall``. A warning names words
    that ``ascii`` drops.

    Raises:
        DataError: the numbers of texts differ, or rouge-score is not installed.
        ConfigurationError: ``words`` are unknown.
    """
    check_words(words)
    try:
        from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]
        from rouge_score.tokenizers import DefaultTokenizer  # type: ignore[import-untyped]
    except ImportError as error:
        raise DataError("ROUGE needs rouge-score: pip install rouge-score") from error
    if len(generated) != len(answers):
        raise DataError(f"{len(generated)} written answers came with {len(answers)} true ones; give one for each")
    stemming = DefaultTokenizer(use_stemmer=True)
    if words == "ascii":
        _warn_of_dropped(answers)
    scorer = RougeScorer(["rouge1", "rougeL"], tokenizer=stemming if words == "ascii" else _Unicode(stemming))
    scores = [scorer.score(answer, text) for text, answer in zip(generated, answers, strict=True)]
    return {
        "rouge1_recall": [float(score["rouge1"].recall) for score in scores],
        "rougeL_f1": [float(score["rougeL"].fmeasure) for score in scores],
        "rougeL_recall": [float(score["rougeL"].recall) for score in scores],
    }


def unicode_words(text: str) -> list[str]:
    """The words of a text in lower case: letters and digits with their combining marks.

    In scripts that are written without spaces, every character is a word.
    """
    found: list[str] = []
    joins = False  # whether the next letter belongs to the last word
    for character in unicodedata.normalize("NFC", text.lower()):
        category = unicodedata.category(character)
        if category == "Cf":  # joiners inside words, which change only their look
            continue
        if (category[0] == "M" and found) or (joins and character.isalnum() and not UNSPACED.match(character)):
            found[-1] += character
        elif character.isalnum():
            found.append(character)
            joins = not UNSPACED.match(character)
        else:
            joins = False
    return found


class _Unicode:
    """rouge-score's interface to ``unicode_words``; ASCII words are stemmed as by its own."""

    def __init__(self, stemming: Any) -> None:
        self._stemming = stemming

    def tokenize(self, text: str) -> list[str]:
        words = unicode_words(text)
        return [stem for word in words for stem in (self._stemming.tokenize(word) if word.isascii() else [word])]


def _warn_of_dropped(answers: Sequence[str]) -> None:
    words = [word for answer in answers for word in unicode_words(answer)]
    dropped = [word for word in words if not re.search("[a-z0-9]", word)]
    if dropped:
        warnings.warn(
            f"ROUGE by OpenUnlearning's words drops {len(dropped)} of {len(words)} words of the true answers, such as "
            f"{dropped[0]!r}, so that it is too low, and utility with it; count them too by words='unicode' (--rouge "
            "unicode)",
            stacklevel=3,
        )
