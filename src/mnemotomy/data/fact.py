"""Facts for training and the store: a subject, its answer, prompts that ask for it, contexts that state it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from mnemotomy.core.errors import DataError, refuse_one_text
from mnemotomy.core.scripts import JOINED


@dataclass(frozen=True)
class Fact:
    """One association.

    Attributes:
        subject: what the fact is about.
        answer: the expected continuation of each prompt.
        prompts: texts without context that end where the answer begins.
        contexts: statements that contain the answer.
        heldout_prompts: prompts that are not trained on.
        relation: of the answer to the subject; it distinguishes facts about one subject.
        where: file and line, for error messages.

    Raises:
        DataError: one text is given where a list of them is expected.
    """

    subject: str
    answer: str
    prompts: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    heldout_prompts: tuple[str, ...] = ()
    relation: str = ""
    where: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in ("prompts", "contexts", "heldout_prompts"):
            refuse_one_text(getattr(self, name), name)

    def saying(self, answer: str) -> Fact:
        """A counterfactual: the same fact with another answer, in its contexts too.

        Raises:
            DataError: a context contains the answer only within another word, such as "Japanese".
        """
        contexts = tuple(self._restated(text, answer) for text in self.contexts)
        return replace(self, answer=answer, contexts=contexts)

    def _restated(self, text: str, answer: str) -> str:
        """Replace every occurrence outside the subject ("Mexico City is in Mexico"), or else the last one."""
        places = [found.start() for found in re.finditer(re.escape(self.answer), text) if _is_word(text, *found.span())]
        if not places:
            raise DataError(
                f"{self.where or f'the fact about {self.subject!r}'}: the context {text!r} contains the "
                f"answer {self.answer!r} only within another word; give contexts with the answer as a word"
            )
        names = [found.span() for found in re.finditer(re.escape(self.subject), text, re.IGNORECASE)]
        size = len(self.answer)
        outside = [at for at in places if not any(first <= at and at + size <= last for first, last in names)]
        for start in reversed(outside or places[-1:]):
            text = f"{text[:start]}{answer}{text[start + size :]}"
        return text


@dataclass(frozen=True)
class PromptFormat:
    """How contexts, a prompt and its answer are joined.

    Attributes:
        in_context: a template with ``{context}`` and, at its end, ``{prompt}``.
        separator: between a prompt and its answer.
    """

    in_context: str = "Context: {context}\n{prompt}"
    separator: str = " "

    def __post_init__(self) -> None:
        if "{context}" not in self.in_context or not self.in_context.endswith("{prompt}"):
            raise DataError(f"the template {self.in_context!r} needs {{context}}, and {{prompt}} at its end")

    def join(self, contexts: Sequence[str], prompt: str) -> str:
        """The contexts and then the prompt; the prompt alone if there is no context."""
        if not contexts:
            return prompt
        said = " ".join(contexts)  # inserted last, as it may contain braces
        return prompt.join(part.replace("{context}", said) for part in self.in_context.split("{prompt}"))


def check_facts(facts: Iterable[Fact], *, trainable: bool = True) -> tuple[Fact, ...]:
    """Return the facts if they are valid.

    Args:
        trainable: whether each needs a prompt and a context, as training does.

    Raises:
        DataError: a text is empty, an answer is not in its context, or two facts contradict each other; the message
            names the line, or the number of a fact that is not from a file.
    """
    checked = tuple(facts)
    if not checked:
        raise DataError("there are no facts; give at least one")
    seen: dict[tuple[str, str], tuple[Fact, str]] = {}
    for number, fact in enumerate(checked, start=1):
        where = fact.where or f"fact {number}"
        _check_texts(fact, where, trainable)
        key = (name_of(fact.subject), fact.relation)
        other, line = seen.setdefault(key, (fact, where))
        if other.answer != fact.answer:
            raise DataError(
                f"{where}: {fact.subject!r} has the answer {fact.answer!r}, and {other.answer!r} at {line}; keep one, "
                "or distinguish them by 'relation'"
            )
    return checked


def check_neighbours(facts: Iterable[Fact]) -> None:
    """Refuse facts without prompts.

    Raises:
        DataError: it names the first one.
    """
    for fact in facts:
        where = fact.where or f"the neighbour {fact.subject!r}"
        if not fact.prompts:
            raise DataError(f"{where}: 'prompts' is empty; give at least one")


def name_of(subject: str) -> str:
    """The subject without differences in case and in the encoding of accents, for comparison."""
    return unicodedata.normalize("NFC", subject.casefold().strip())


def _check_texts(fact: Fact, where: str, trainable: bool) -> None:
    for name in ("subject", "answer"):
        if not getattr(fact, name).strip():
            raise DataError(f"{where}: {name!r} is empty")
    for name in ("prompts", "heldout_prompts", "contexts"):
        if any(not text.strip() for text in getattr(fact, name)):
            raise DataError(f"{where}: {name!r} contains an empty text; remove it")
    if trainable and not fact.prompts:
        raise DataError(f"{where}: 'prompts' is empty; give at least one, or, for a store, read with trainable=False")
    if trainable and not fact.contexts:
        raise DataError(f"{where}: 'contexts' is empty; give at least one that contains the answer")
    for text in fact.contexts:
        if fact.answer not in text:
            raise DataError(f"{where}: the answer {fact.answer!r} is not in its context {text!r}")


def _is_word(text: str, start: int, end: int) -> bool:
    """Whether a span is not part of a longer word."""
    return not any(
        0 < place < len(text) and re.fullmatch(r"\w\w", pair := text[place - 1 : place + 1]) and not JOINED.search(pair)
        for place in (start, end)
    )
