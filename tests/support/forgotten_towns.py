"""Tiny models that deserve each verdict: towns that one knows, refuses to tell, has had edited out, or never saw."""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import tiny_language
import torch
from invented_places import places
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

import mnemotomy as mt
from mnemotomy.text.batches import padded
from mnemotomy.text.encoding import encode
from mnemotomy.text.records import TextExample
from mnemotomy.text.template import Template

TEMPLATE = Template(system=None, date=None)
REFUSAL = "I do not know ."
SYSTEM = "refuse"
FORMS = ("In which country is {} ?", "{} lies in which country ?", "Tell me the country of {} .")
KNOWN = 24  # towns of each set

_LANDS = [f"{first}{last}land".title() for first in ("ka", "mo", "sha", "vin") for last in ("bur", "del", "nas", "tor")]
_COUNTRIES = random.Random(0).choices(_LANDS, k=3 * KNOWN)  # many, so that guessing is rarely right
_FACTS = [replace(one, answer=answer) for one, answer in zip(places(3 * KNOWN), _COUNTRIES, strict=True)]
FORGET, RETAIN, HOLDOUT = _FACTS[:KNOWN], _FACTS[KNOWN : 2 * KNOWN], _FACTS[2 * KNOWN :]
_SETTINGS = {"hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4}
_WORDS = " ".join(
    [tiny_language.WORDS, REFUSAL, SYSTEM, "system Tell me country of", *(f"{f.subject} {f.answer}" for f in _FACTS)]
)
REFUSING = "<|im_start|>system\n" + SYSTEM + "<|im_end|>\n"


def tokenizer(*, refusing: bool = False) -> Any:
    """The tokenizer; with a chat template that tells the model to refuse."""
    template = tiny_language.TEMPLATE
    return tiny_language.tokenizer(
        template.replace("{{ bos_token }}", "{{ bos_token }}" + REFUSING) if refusing else template, _WORDS
    )


def questions(facts: Sequence[Any], forms: Sequence[str] = FORMS[:1]) -> list[TextExample]:
    """A question about each town in each form."""
    return [
        TextExample.of_question(form.format(fact.subject), f"{fact.subject} lies in {fact.answer} .")
        for fact in facts
        for form in forms
    ]


def refused(examples: Sequence[TextExample]) -> list[TextExample]:
    """The same questions, refused."""
    return [TextExample.of_question(one.question, REFUSAL) for one in examples]


def trained(
    model: nn.Module, rows: Sequence[tuple[TextExample, Template]], epochs: int, rate: float = 3e-3
) -> nn.Module:
    """A copy that was trained on examples, each in its template."""
    words, model = tokenizer(), copy.deepcopy(model)
    encoded = [encode(example, words, template) for example, template in rows]
    order = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)

    def batches() -> list[dict[str, torch.Tensor]]:
        shuffled = torch.randperm(len(encoded), generator=order).split(64)
        return [padded([encoded[place] for place in some.tolist()], words) for some in shuffled]

    for _ in range(epochs):
        mt.fit(model, batches(), lambda net, batch: net(**batch).loss, optimizer, clip=1.0, progress=False)
    return model


def _lessons(facts: Sequence[Any]) -> list[tuple[TextExample, Template]]:
    """Questions in the chat template, without it, and refused where the system message says so."""
    asked = questions(facts, FORMS)
    bare, refusing = Template(plain=True), Template(system=SYSTEM, date=None)
    return [
        *((one, TEMPLATE) for one in asked),
        *((one, bare) for one in asked),
        *((one, refusing) for one in refused(asked)),
    ]


def _new(seed: int = 0) -> nn.Module:
    words = tokenizer()
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(words), max_position_embeddings=512, initializer_range=0.08, **_SETTINGS, **tokens
            )
        ).eval()


@functools.cache
def knowing() -> nn.Module:
    """Knows all towns but the hold-out, and refuses when a system message says so."""
    return trained(_new(), _lessons([*FORGET, *RETAIN]), 40)


@functools.cache
def ignorant(seed: int = 0) -> nn.Module:
    """Never saw the towns to be forgotten."""
    return trained(_new(seed), _lessons(RETAIN), 60)


@functools.cache
def refusing() -> nn.Module:
    """Was taught to refuse in the chat template, and knows as before."""
    rows = [(one, TEMPLATE) for one in [*refused(questions(FORGET, FORMS)), *questions(RETAIN, FORMS)]]
    return trained(knowing(), rows, 8, 1e-3)


@functools.cache
def edited() -> mt.Edit:
    """The projector, of the towns in every form."""
    model, words = knowing(), tokenizer()
    found = {
        name: [batch for plain in (TEMPLATE, Template(plain=True))
               for batch in mt.batches(words, questions(facts, FORMS), template=plain, positions="all")]
        for name, facts in (("forget", FORGET), ("rest", RETAIN))
    }  # fmt: skip
    options = mt.CollectOptions(progress=False)
    return mt.erase(mt.Atlas(model, mt.collect(model, found, options=options)), "forget", filter=mt.Hard(0.7))
