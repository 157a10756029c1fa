"""What to ask about, from files, lines or probes; what is missing is made from the model before forgetting."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path
from typing import Any

from torch import nn

from mnemotomy.audit.base import Case
from mnemotomy.audit.judging import subject_of, telling, words_of
from mnemotomy.audit.several import merged
from mnemotomy.audit.wording import REWRITE, Asked
from mnemotomy.audit.writing import greedy_answers, tokens_of, write_answers
from mnemotomy.core.errors import DataError
from mnemotomy.core.keys import key
from mnemotomy.core.yaml import read_yaml
from mnemotomy.text.probes import Probe, probes_of
from mnemotomy.text.records import TextExample, example_of, read_examples
from mnemotomy.text.template import Template

Source = str | Path | Iterable[Probe | TextExample | Mapping[str, Any] | str]
"""A JSON Lines file, or its lines: probes, examples, objects or plain texts."""

_TEXTS = 50  # of the retain set, for the perplexity


@functools.cache
def general_texts() -> dict[str, list[str]]:
    """Sentences, questions and stems of our own, for a model about which no retain set was given."""
    found: dict[str, list[str]] = read_yaml(
        (resources.files("mnemotomy.audit") / "general_texts.yaml").read_text("utf-8")
    )
    return found


def probes_from(source: Source | None, template: Template, what: str) -> list[Probe]:
    """What to ask about; a question that is there twice counts once, with the answers of all its lines.

    Raises:
        DataError: the file or a line is malformed, or there is none.
    """
    if source is None:
        return []
    if isinstance(source, str | Path):
        return merged(probes_of(read_examples(source), template))
    found = []
    for number, one in enumerate(source, start=1):
        if isinstance(one, Probe):
            found.append(one)
            continue
        row = {"text": one} if isinstance(one, str) else one
        example = row if isinstance(row, TextExample) else example_of(row, f"{what}, line {number}")
        found += probes_of([example], template)
    if not found:
        raise DataError(f"the {what} is empty; give at least one question with its answer")
    return merged(found)


def made_up(case: Case, before: nn.Module) -> dict[str, Any]:
    """What the model before forgetting writes for a case, as JSON values.

    Returns:
        ``paraphrases`` of each forgotten question; ``retain``, questions with the model's own answers, if there is no
        retain set.
    """
    return {
        "paraphrases": _rewritten(case, before),
        "retain": [] if case.retain else [[one.question, one.answer] for one in _general(case, before)],
    }


def completed(case: Case, before: nn.Module, made: Mapping[str, Any]) -> tuple[Case, list[str]]:
    """The case with what ``made_up`` gave, and notes for the report."""
    notes = []
    if not case.retain:
        template = case.forget[0].template
        case = replace(case, retain=[Probe(question, answer, template) for question, answer in made["retain"]])
        notes.append(
            f"No retain set was given: what was to be kept is what the model answered before to {len(case.retain)} "
            "general questions of ours. Neighbours of what was forgotten were not asked about; a retain set may have "
            "them."
        )
    if not case.holdout:
        notes.append(
            "No hold-out set was given: what not knowing looks like is how often the answers to other questions are "
            "said. Only a gold model or a hold-out set can show that the model is as if it had never known."
        )
    forget = [
        replace(one, paraphrases=tuple(dict.fromkeys([*one.paraphrases, *own])))
        for one, own in zip(case.forget, made["paraphrases"], strict=True)
    ]
    return replace(
        case, forget=forget, reference=before, texts=[*texts_of(case.retain)[:_TEXTS], *general_texts()["sentences"]]
    ), notes


def digest(case: Case) -> str:
    """A hash of what is asked and how; the tokenizer counts with the models."""
    sets = [[{**asdict(one), "where": ""} for one in part] for part in (case.forget, case.retain, case.holdout)]
    return key(sets, list(case.texts), case.template, case.seed, case.batch_size, case.precision)


def texts_of(probes: Sequence[Probe]) -> list[str]:
    """The answers, behind their stems if these are part of the text; those long enough for a perplexity."""
    whole = [one.template.answered(one.question, one.answer) if one.template.plain else one.answer for one in probes]
    return [text for text in whole if len(words_of(text)) >= 5]


def _general(case: Case, before: nn.Module) -> list[Probe]:
    """General questions with the model's own answers, without those that mention what was forgotten."""
    template = case.forget[0].template
    asked = [Probe(text, "?", template) for text in general_texts()["stems" if template.plain else "questions"]]
    texts = greedy_answers(before, replace(case, retain=()), asked)
    forgotten = {word for one in case.forget for answer in one.answers for word in telling(answer)}
    lines = [text.splitlines()[0].strip() if text else "" for text in texts]
    return [
        replace(one, answer=line)
        for one, line in zip(asked, lines, strict=True)
        if words_of(line) and not forgotten & set(words_of(line))
    ]


def _rewritten(case: Case, before: nn.Module) -> list[list[str]]:
    """The model's own paraphrase of each question: one that keeps the name, and does not tell the answer."""
    if any(one.template.plain for one in case.forget):
        return [[] for _ in case.forget]
    prompts = [tokens_of(case, Asked(one.asked(REWRITE.format(one.question)))) for one in case.forget]
    texts = write_answers(before, case, prompts)
    found: list[list[str]] = []
    for probe, (text,) in zip(case.forget, texts, strict=True):
        line = text.strip().splitlines()[0].strip().strip('"') if text.strip() else ""
        subject = subject_of(probe.question) or ""
        answer = {word for one in probe.answers for word in telling(one, probe.question)}
        good = line.endswith("?") and subject in line and line != probe.question and not answer & set(words_of(line))
        found.append([line] if good else [])
    return found
