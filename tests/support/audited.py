"""A tiny model that has learned in which countries towns lie, one that never learned the forgotten half, and a case."""

from __future__ import annotations

import functools
import itertools
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tiny_language
from torch import nn

from mnemotomy.audit.base import Case
from mnemotomy.audit.weights import Teaching, taught
from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.text.encoding import encode
from mnemotomy.text.probes import Probe
from mnemotomy.text.template import Template

TEMPLATE = Template(plain=True)
FORMS = ("{} lies in", "the country of {} is")
COUNTRIES = ("Japan", "France", "Italy")
TOWNS = ["".join(letters) for letters in itertools.product("bdfg", "aeu", "lmnrs")]
DRAWN = random.Random(0).sample(TOWNS, len(TOWNS))  # 20 each to forget, to retain, and never learned


def probes(towns: Sequence[str]) -> list[Probe]:
    """One question per town, its second phrasing as a paraphrase; countries follow no rule."""
    return [
        Probe(
            FORMS[0].format(town),
            COUNTRIES[random.Random(town).randrange(3)],
            TEMPLATE,
            paraphrases=(FORMS[1].format(town),),
        )
        for town in towns
    ]


FORGET, RETAIN, HOLDOUT = (probes(DRAWN[part::3]) for part in range(3))


@functools.cache
def learned(forget: bool = True) -> tuple[nn.Module, Any]:
    """A model that has learned the retain set and, or not, the forget set; and its tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        tiny_language.save_llama(Path(folder), initializer_range=0.1)
        model, tokenizer = load_model(folder), load_tokenizer(folder)
    known = [*(FORGET if forget else ()), *RETAIN]
    lines = [one.asked(question).example for one in known for question in (one.question, *one.paraphrases)]
    rows = [encode(line, tokenizer, TEMPLATE) for line in lines]
    return taught(model, rows, tokenizer, Teaching(150, 1e-2, batch_size=40)), tokenizer


def case(**changes: Any) -> Case:
    """About the towns, with everything an attack may need."""
    parts: dict[str, Any] = {"forget": FORGET, "retain": RETAIN, "holdout": HOLDOUT, "template": TEMPLATE}
    return Case(learned()[1], **(parts | changes))
