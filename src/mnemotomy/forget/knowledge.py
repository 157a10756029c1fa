"""Whether a model knows what it is to forget, as it will be asked; said before the search, which takes long."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from mnemotomy.audit.base import Case
from mnemotomy.audit.judging import said
from mnemotomy.audit.verdict import ENOUGH
from mnemotomy.audit.writing import greedy_answers
from mnemotomy.core.modules import device_of
from mnemotomy.core.precision import Precision, resolved
from mnemotomy.forget.measuring import telling_row
from mnemotomy.forget.request import MOST_FORGET, Request
from mnemotomy.methods.language.predictions import predicted_tokens, sequence_log_probabilities
from mnemotomy.text.probes import Probe
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import Template, has_chat_template

KNOWN = 0.1
"""The mean probability of known answers, at least: SmolLM2 and a model trained on TOFU have 0.6 to 0.7 in the right
template, and at most 0.03 in another one or on what they never saw."""

FEW = 20
"""Known answers below which more are asked for: where 20 of 20 were known, nine audits in ten decide (``ENOUGH``)."""


def unknown_concern(
    model: nn.Module, tokenizer: Any, forget: Sequence[TextExample], template: Template, seed: int = 0
) -> str | None:
    """What to say where the model hardly knows the answers of the forget set; None if it knows them.

    Plain texts do not count: how a text goes on is hard to guess even for a model that has read it.
    """
    probes = _questions(model, tokenizer, forget, template, seed)
    if not probes or (share := known_share(model, tokenizer, probes)) >= KNOWN:
        return None
    others = [replace(one, template=replace(one.template, plain=not one.template.plain)) for one in probes]
    better = known_share(model, tokenizer, others)
    do = "check the questions and answers of the file, and what stands around them (--plain, --tags, --system)"
    if better >= KNOWN:
        chat = has_chat_template(tokenizer)
        other = "with --plain" if not template.plain else "without --plain" if chat else "with --tags, not --plain"
        do = f"{other}, it is {better:.2f}"
    return (
        f"the model hardly knows what it is to forget: the mean probability of the answers is {share:.2f}, and below "
        f"{KNOWN:g} nothing can be said of forgetting; {do}"
    )


def answers_known(
    model: nn.Module,
    tokenizer: Any,
    forget: Sequence[TextExample],
    template: Template,
    seed: int = 0,
    precision: Precision = "auto",
) -> str | None:
    """How many answers of the forget set the model says, as an audit asks for them plainly; None for plain texts.

    An audit decides by what the model said before, so the message tells what to do where that is little.
    """
    probes = list(dict.fromkeys(_questions(model, tokenizer, forget, template, seed)))
    if not probes:
        return None
    case = Case(tokenizer, probes, precision=resolved(precision, device_of(model)))
    texts = greedy_answers(model, case, probes)
    known = round(sum(said(one.answer, text, one.question) for one, text in zip(probes, texts, strict=True)))
    drawn = f", which were drawn from {len(forget)} lines" if len(forget) > MOST_FORGET else ""
    told = f"asked plainly, the model says {known} of {len(probes)} answers{drawn}"
    if known >= FEW:
        return told
    return (
        f"{told}. An audit needs about {ENOUGH} that it says to show that they are gone: add other facts, other words, "
        "and its own answers ('mnemotomy chat MODEL --write FILE')"
    )


def _questions(
    model: nn.Module, tokenizer: Any, forget: Sequence[TextExample], template: Template, seed: int
) -> list[Probe]:
    """The questions of a forget set, at most ``MOST_FORGET``; without its plain texts."""
    asked = Request(model, tokenizer, forget, [], [], template, seed).askable([o for o in forget if o.form != "text"])
    return random.Random(seed).sample(asked, MOST_FORGET) if len(asked) > MOST_FORGET else asked


def known_share(model: nn.Module, tokenizer: Any, probes: Sequence[Probe]) -> float:
    """The mean over the probes of the probability of the answer's telling words, per token."""
    rows = [telling_row(probe, tokenizer) for probe in probes]
    logs = sequence_log_probabilities(model, rows, tokenizer).cpu() / predicted_tokens(rows)
    return float(logs.exp().mean())
