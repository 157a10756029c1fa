"""Whether what a model wrote says an answer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import pairwise

import regex

from mnemotomy.core.scripts import JOINED
from mnemotomy.text.probes import Probe

_FUNCTION = frozenset(
    re.findall(
        r"\w+",
        """
    a about above after again all also am an and any are as at be because been before being below between born
    both but by called can could did do does during each for found from give had has have he her here hers him
    his how i if in into is it its itself just known lies like located made many may me might more most much
    must my name named no nor not now of off on once only or other our out over own she should situated so some
    such tell than that the their them then there these they this those through to under until up us very was we
    were what when where which while who whom whose why will with would yes you your
    """,
    )
)
"""English words that say nothing by themselves."""

_REPLIES = frozenset(("yes", "no"))
"""Those that tell where nothing else does."""

_JOINERS = "\u200c\u200d"  # inside words, and without a look of their own
WORD = regex.compile(rf"[\w{_JOINERS}]+")
"""A word with its vowel signs, which ``re`` would split off."""

SHORT = 4
"""The most telling words of a short answer, which is said in full or not at all."""


def said(answer: str, written: str, question: str = "") -> float:
    """How much of an answer a text says, in [0, 1].

    Only the telling words of the answer count: those that are neither function words nor in the question. A short
    answer is said (1) if all of them are in the text in this order, else not (0). For a long one, the share of its
    telling words that are in the text in this order counts: the recall of ROUGE-L (Lin 2004) over rare words, so that
    the phrases that every answer has do not count. Case, accents and punctuation do not matter.

    Args:
        answer: the true one.
        written: by the model, without the prompt.
        question: that was asked.
    """
    if JOINED.search(answer):
        return float("".join(words_of(answer)) in "".join(words_of(written)))
    told = telling(answer, question)
    shared = common_words(told, words_of(written))
    return shared / len(told) if len(told) > SHORT else float(shared == len(told))


def says(probe: Probe, written: str) -> float:
    """How much of a probe's answer a text says; of several true answers, the one that it says most of."""
    return max(said(answer, written, probe.question) for answer in probe.answers)


def telling(answer: str, question: str = "") -> list[str]:
    """The telling words of an answer; if none is, its yes or no, or all of its words."""
    known, words = {*words_of(question), *_FUNCTION}, words_of(answer)
    told = [word for word in words if word not in known]
    return told or [word for word in words if word in _REPLIES] or words or [answer]


def exchanged(answer: str, question: str, other: str, of: str) -> str:
    """The answer with its telling part replaced by that of ``other``, which answers the question ``of``.

    An answer that repeats its question, such as "Kyoto lies in Japan.", becomes "Kyoto lies in France.".
    """
    (first, last), (start, stop) = _telling_span(answer, question), _telling_span(other, of)
    return answer[:first] + other[start:stop] + answer[last:]


def _telling_span(answer: str, question: str) -> tuple[int, int]:
    """Where the telling part of an answer begins and ends; the whole answer if no word stands out."""
    told = set(telling(answer, question))
    places = [word.span() for word in WORD.finditer(answer) if told & set(words_of(word[0]))]
    return (places[0][0], places[-1][1]) if places else (0, len(answer))


def telling_tokens(
    answer: str, question: str, tokens: Sequence[int], decode: Callable[[Sequence[int]], str], *, once: bool = False
) -> list[list[int]]:
    """The places among an answer's tokens that each telling word takes, in order; none if the answer has no word.

    Args:
        answer: the true one.
        question: that it answers.
        tokens: of the answer.
        decode: of the tokenizer.
        once: leave out what was there before; a repetition is copied.
    """
    ends = [len(decode(tokens[:count])) for count in range(len(tokens) + 1)]
    words, found = set(telling(answer, question)), list[list[int]]()
    for match in WORD.finditer(decode(tokens)):
        told, (first, last) = words & set(words_of(match[0])), match.span()
        if told:
            found.append([place for place, (start, end) in enumerate(pairwise(ends)) if start < last and first < end])
        if once:
            words -= told
    return found


def subject_of(question: str) -> str | None:
    """The name that a question is about: the longest run of capitalised words, the last one of equals."""
    runs: list[list[str]] = [[]]
    for word in re.findall(r"\w+(?:['’-]\w+)*|[^\w\s]", question):
        if word[:1].isupper() and word.casefold() not in _FUNCTION:
            runs[-1].append(word)
        elif runs[-1]:
            runs.append([])
    best = max(reversed(runs), key=len)
    return " ".join(best) or None


def words_of(text: str) -> list[str]:
    """The words of a text without case, accents and punctuation; vowel signs belong to their words."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return WORD.findall("".join(one for one in plain if not unicodedata.combining(one) and one not in _JOINERS))


def common_words(left: Sequence[str], right: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(right) + 1)
    for one in left:
        above = row[:]
        for place, other in enumerate(right, start=1):
            row[place] = above[place - 1] + 1 if one == other else max(above[place], row[place - 1])
    return row[-1]
