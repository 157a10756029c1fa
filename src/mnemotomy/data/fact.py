"""Facts as training and the store read them: a subject, its answer, how it is asked for, and what states it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from mnemotomy.core.errors import DataError


@dataclass(frozen=True)
class Fact:
    """One association.

    Attributes:
        subject: what the fact is about.
        answer: what the model continues each prompt with.
        prompts: texts without context that end where the answer begins.
        contexts: statements that hold the answer.
        heldout_prompts: further prompts that no training sees.
        relation: what the answer is to the subject; facts about one subject may differ in it.
        where: file and line, for errors.
    """

    subject: str
    answer: str
    prompts: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    heldout_prompts: tuple[str, ...] = ()
    relation: str = ""
    where: str = field(default="", compare=False)

    def saying(self, answer: str) -> Fact:
        """The same fact with another answer, in its contexts too, wherever they say it: a counterfactual.

        Raises:
            DataError: a context holds the answer within another word only, as "Japanese" does.
        """
        contexts = tuple(self._restated(text, answer) for text in self.contexts)
        return replace(self, answer=answer, contexts=contexts)

    def _restated(self, text: str, answer: str) -> str:
        """Every occurrence changes but those in the subject ("Mexico City is in Mexico"), unless all are there."""
        places = [found.start() for found in re.finditer(re.escape(self.answer), text) if _is_word(text, *found.span())]
        if not places:
            raise DataError(
                f"{self.where or f'the fact about {self.subject!r}'}: the context {text!r} holds the answer "
                f"{self.answer!r} within another word, so that no other can take its place; give contexts that say it"
            )
        names = [found.span() for found in re.finditer(re.escape(self.subject), text, re.IGNORECASE)]
        size = len(self.answer)
        outside = [at for at in places if not any(first <= at and at + size <= last for first, last in names)]
        for start in reversed(outside or places[-1:]):
            text = f"{text[:start]}{answer}{text[start + size :]}"
        return text


@dataclass(frozen=True)
class PromptFormat:
    """How a prompt is joined to a context before it and to the answer after it.

    Attributes:
        in_context: with ``{context}`` and ``{prompt}``.
        separator: between a prompt and its answer.
    """

    in_context: str = "Context: {context}\n{prompt}"
    separator: str = " "

    def __post_init__(self) -> None:
        if "{context}" not in self.in_context or not self.in_context.endswith("{prompt}"):
            raise DataError(f"a prompt with context needs {{context}}, and {{prompt}} at its end: {self.in_context!r}")

    def join(self, contexts: Sequence[str], prompt: str) -> str:
        """The prompt behind its contexts, or alone where there is none."""
        if not contexts:
            return prompt
        said = " ".join(contexts)  # put in last, as it may hold braces of its own
        return prompt.join(part.replace("{context}", said) for part in self.in_context.split("{prompt}"))


def check_facts(facts: Iterable[Fact], *, trainable: bool = True) -> tuple[Fact, ...]:
    """The facts, if they can be used.

    Args:
        facts: of any kind of origin.
        trainable: whether each needs a prompt and a context too, as training does.

    Raises:
        DataError: a text is empty, an answer is not in its context, or two facts contradict each other; it names the
            line, or the number of the fact where it comes from no file.
    """
    checked = tuple(facts)
    if not checked:
        raise DataError("there are no facts")
    seen: dict[tuple[str, str], tuple[Fact, str]] = {}
    for number, fact in enumerate(checked, start=1):
        where = fact.where or f"fact {number}"
        _check_texts(fact, where, trainable)
        key = (name_of(fact.subject), fact.relation)
        other, line = seen.setdefault(key, (fact, where))
        if other.answer != fact.answer:
            raise DataError(
                f"{where}: {fact.subject!r} has the answer {fact.answer!r}, and {other.answer!r} at {line}; keep one, "
                "or tell them apart by 'relation'"
            )
    return checked


def name_of(subject: str) -> str:
    """The subject as facts are told apart by: whatever its case, and however its accents are encoded."""
    return unicodedata.normalize("NFC", subject.casefold().strip())


def _check_texts(fact: Fact, where: str, trainable: bool) -> None:
    for name in ("subject", "answer"):
        if not getattr(fact, name).strip():
            raise DataError(f"{where}: {name!r} is empty")
    for name in ("prompts", "heldout_prompts", "contexts"):
        if any(not text.strip() for text in getattr(fact, name)):
            raise DataError(f"{where}: {name!r} holds an empty text")
    if trainable and not fact.prompts:
        raise DataError(f"{where}: 'prompts' is empty; give at least one, or make them from templates")
    if trainable and not fact.contexts:
        raise DataError(f"{where}: 'contexts' is empty; give at least one that holds the answer")
    for text in fact.contexts:
        if fact.answer not in text:
            raise DataError(f"{where}: the answer {fact.answer!r} is not in its context {text!r}")


_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""Scripts that put no space between words, or none before particles, by the names of their characters."""


def _is_word(text: str, start: int, end: int) -> bool:
    """Whether a part of a text is no piece of a longer word."""
    return not any(
        0 < place < len(text) and re.fullmatch(r"\w\w", pair := text[place - 1 : place + 1]) and not _unspaced(pair)
        for place in (start, end)
    )


def _unspaced(text: str) -> bool:
    return any(unicodedata.name(letter, "").startswith(_UNSPACED) for letter in text)
