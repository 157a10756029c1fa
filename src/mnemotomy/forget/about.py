"""A forget set from a name, or from a store of facts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import nn

from mnemotomy.core.errors import DataError
from mnemotomy.data.fact import Fact
from mnemotomy.observe.answers import answer_greedily
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import Template

ASKED = (
    "Who or what is {}?", "Tell me about {}.", "What is {} known for?", "Summarise what you know about {}.",
    "Explain to a child what {} is.", "What are the most important facts about {}?", "Describe {} in three sentences.",
    "Where does {} come from?", "Why is {} important?", "Who created {}, or who are the parents of {}?",
    "What happened to {}?", "Which names and places are connected with {}?", "When did {} begin, and where?",
    "What would an encyclopedia say about {}?", "Name three things that everyone knows about {}.",
    "Write a short article about {}.", "Finish the sentence: {} is", "What do people say about {}?",
)  # fmt: skip
"""Phrasings for models with a chat template."""

CONTINUED = (
    "{} is", "{} is known for", "The story of {} begins", "Everyone has heard of {},", "The most important thing about "
    "{} is", "An encyclopedia says about {}: {} is", "When people think of {}, they think of", "{} was", "{} and",
    "In the world of {}, there", "Among the names connected with {} are", "{} comes from",
)  # fmt: skip
"""Beginnings for models without."""


def asked_about(
    model: nn.Module, tokenizer: Any, name: str, template: Template, max_new_tokens: int = 80
) -> list[TextExample]:
    """What the model says of a name: its own answers to many questions about it, for a forget set.

    Args:
        name: of a person, a work, a subject.
        max_new_tokens: of an answer.

    Raises:
        DataError: the name is empty, or the model says nothing.
    """
    if not name.strip():
        raise DataError("--about needs a name, as in --about 'Harry Potter'")
    chat = template.uses_chat(tokenizer)
    questions = [one.replace("{}", name.strip()) for one in (ASKED if chat else CONTINUED)]
    asked = template if chat else replace(template, plain=True)
    answers = answer_greedily(model, tokenizer, questions, template=asked, max_new_tokens=max_new_tokens)
    where = f"said by the model about {name.strip()}"
    found = [
        TextExample.of_question(question, answer, where, subject=name.strip())
        if chat
        else TextExample.of_text(f"{question} {answer}", where, name.strip())
        for question, answer in zip(questions, answers, strict=True)
        if answer.strip()
    ]
    if not found:
        raise DataError(f"the model says nothing about {name!r}; give a file of examples with --forget")
    return found


def facts_asked(facts: Iterable[Fact]) -> list[TextExample]:
    """Each fact's prompts with its answer, which continues them (ask with a plain template).

    Raises:
        DataError: there are no facts.
    """
    found = [
        TextExample.of_question(
            prompt, fact.answer, fact.where, subject=fact.subject if fact.subject in prompt else None
        )
        for fact in facts
        for prompt in fact.prompts
    ]
    if not found:
        raise DataError("there are no facts to forget; name subjects that the store has, and see 'mnemotomy facts'")
    return found
