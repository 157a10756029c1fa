"""What to retain where too little was given: neighbours of what is forgotten, and texts that the model writes."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from torch import nn

from mnemotomy.audit.judging import said
from mnemotomy.core.modules import device_of
from mnemotomy.core.scripts import word_ends
from mnemotomy.core.seeds import seeded
from mnemotomy.methods.language.self_reference import SelfReference, write_reference
from mnemotomy.observe.answers import answer_greedily
from mnemotomy.observe.generation import continue_sampled
from mnemotomy.observe.writings import Writings
from mnemotomy.text.batches import batches
from mnemotomy.text.encoding import IGNORED, Positions
from mnemotomy.text.probes import Probe
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import Template
from mnemotomy.text.tokenizing import encode_prompt

ROWS_PER_DIRECTION = 2.0
"""Tokens in the moments for each direction of the widest input: with fewer than one, an edit ruins a model."""

NEIGHBOURS = 60
BESIDE = 24
"""Neighbours that only the result tells of, where a retain set was given."""

SHOWN = 4  # questions in a list that the model continues
WRITTEN_PER_NEIGHBOUR = 5.0
"""Times as many tokens as an example to forget has are written for each neighbour: questions, most of them not usable,
and an answer."""

_LENGTH = 64  # tokens of a text of the model's own
_ROUNDS = 4  # of half as many lists as neighbours are wanted: most lines are not usable


def neighbours(
    model: nn.Module,
    tokenizer: Any,
    probes: Sequence[Probe],
    template: Template,
    seed: int,
    count: int = NEIGHBOURS,
    writings: Writings | None = None,
) -> list[TextExample]:
    """The model's own answers to questions like the forgotten ones, which it makes up by continuing lists of them.

    A question of the forget set, and one whose answer says a forgotten one, is left out: only what should stay is
    retained.
    """
    writings = writings or Writings()
    questions = _questions(model, tokenizer, probes, seed, count, writings) if probes else []
    if not questions:
        return []
    longest = max(len(tokenizer(probe.answer)["input_ids"]) for probe in probes)
    how: dict[str, Any] = {"template": template, "max_new_tokens": min(100, 8 + longest)}
    with seeded(seed, device_of(model)):
        written = writings.piece(
            ("answers", questions, asdict(template), longest),
            lambda: answer_greedily(model, tokenizer, questions, **how),
        )
    found = []
    for question, text in zip(questions, written, strict=True):
        answer = _answer(text, probes, template)
        forgotten = any(said(probe.answer, answer, probe.question) >= 0.5 for probe in probes)
        if answer and not forgotten:
            found.append(TextExample.of_question(question, answer, "a neighbour, answered by the model"))
    return found[:count]


def _questions(
    model: nn.Module, tokenizer: Any, probes: Sequence[Probe], seed: int, count: int, writings: Writings
) -> list[str]:
    own = {probe.question.strip() for probe in probes}
    drawn = random.Random(seed)
    found: dict[str, None] = {}
    with seeded(seed, device_of(model)):
        for number in range(_ROUNDS):
            lists = []
            for _ in range(count // 2):
                shown = drawn.sample(sorted(own), min(SHOWN, len(own)))
                lists.append(encode_prompt(tokenizer, "".join(f"- {one}\n" for one in shown) + "-"))
            longest = 3 * max(len(tokenizer(one)["input_ids"]) for one in own) + 8
            write = functools.partial(continue_sampled, model, tokenizer, lists, longest)
            for text in writings.piece(("questions", sorted(own), seed, count, number), write):
                for line in text.split("\n")[:-1]:  # the last one may be cut off
                    question = re.sub(r"^\s*[-*\d.)]*\s*", "", line).strip()
                    if _is_like(question, own):
                        found[question] = None
            if len(found) >= count:
                break
    return list(found)[:count]


def _is_like(question: str, own: set[str]) -> bool:
    """Whether a line has the form of the forgotten questions, and is not one of them."""
    if not question or question in own or len(question) > 2 * max(map(len, own)):
        return False
    asks = sum(one.endswith("?") for one in own) * 2 > len(own)
    return question.endswith("?") if asks else len(word_ends(question)) >= 3


def _answer(text: str, probes: Sequence[Probe], template: Template) -> str:
    """What the model wrote, as long as the forgotten answers are where nothing ends it."""
    if not template.plain:
        return text.split("\n", maxsplit=1)[0].strip()
    line, most = text.split("\n", maxsplit=1)[0], max(len(word_ends(probe.answer)) for probe in probes)
    return line[: max(word_ends(line)[: most + 1], default=0)].strip(" ,.;:")


def written_texts(
    model: nn.Module, tokenizer: Any, tokens: int, template: Template, seed: int, writings: Writings | None = None
) -> list[TextExample]:
    """Texts that the model writes itself, at least ``tokens`` tokens of content in all."""
    how = SelfReference(_texts(tokens), opening="question", max_new_tokens=_LENGTH, batch_size=32, seed=seed)
    return write_reference(model, tokenizer, how, template, writings)


def tokens_written(tokenizer: Any, tokens: int, template: Template) -> float:
    """How many tokens ``written_texts`` writes at most: questions too, where there is a chat template."""
    return (2.0 if template.uses_chat(tokenizer) else 1.0) * _LENGTH * _texts(tokens) if tokens else 0.0


def _texts(tokens: int) -> int:
    return max(8, -(-tokens // (_LENGTH // 2)))


def rows_of(
    tokenizer: Any,
    examples: Sequence[TextExample],
    template: Template,
    positions: Positions,
    max_length: int,
    *,
    different: bool,
) -> int:
    """How many tokens of the examples enter the moments.

    Args:
        different: count equal tokens behind equal tokens once. Sentences of a few forms repeat them: hundreds span few
            directions, and say nothing of what else a model writes.
    """
    made = batches(tokenizer, list(examples), template=template, positions=positions, max_length=max_length)
    pairs: list[tuple[int, int]] = []
    for batch in made:
        ids, counted = batch["input_ids"], batch["labels"] != IGNORED
        pairs += zip(ids.roll(1, 1)[counted].tolist(), ids[counted].tolist(), strict=True)
    return len(set(pairs) if different else pairs)
