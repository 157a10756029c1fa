"""What the bench operates on: a model, the facts to forget, and everything that must be kept."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from mnemotomy.core.errors import DataError
from mnemotomy.core.fingerprints import fingerprint
from mnemotomy.core.keys import key
from mnemotomy.core.models import load_model, load_tokenizer, quiet_transformers
from mnemotomy.core.modules import device_of
from mnemotomy.core.precision import autocast
from mnemotomy.data.fact import Fact, PromptFormat
from mnemotomy.data.real_facts import real_facts
from mnemotomy.demo.world import Probe, load_facts, small_world
from mnemotomy.demo.world_model import WorldModelConfig, train_world_model
from mnemotomy.forget.reference import written_texts
from mnemotomy.text.template import Template
from mnemotomy_bench.lab.cases import document
from mnemotomy_bench.lab.cells import cached
from mnemotomy_bench.metabolism.world_facts import WORLD_FORMAT, world_facts
from mnemotomy_bench.real.texts import problems
from mnemotomy_bench.real.world import known_facts

Pairs = Sequence[tuple[str, str]]

TARGETS = 15
"""Facts to forget on a pretrained model, as in the paper."""

OWN_TOKENS = 4000
"""Tokens of the model's own texts, and of a piece of them: next to long texts, facts are mostly padding."""

OWN_LENGTH = 32


@dataclass(frozen=True)
class Subject:
    """A model to treat, loaded afresh for each configuration, and the texts of the bench.

    Attributes:
        load: gives the untreated model and its tokenizer.
        facts: the facts to forget.
        format: how prompts are joined to contexts and answers.
        retain: the retain set, for training.
        neighbours: facts about subjects that are asked about nowhere, for an edit at the subjects.
        others: prompts with answers of facts that are not targeted.
        arithmetic: prompts with answers of small sums.
        reading: prompts with a context about other subjects, and answers.
        heldout_texts: for perplexity, never trained on.
        fruits: prompts about fruits, for Fig. 1.
        relations: prompts with answers of other relations, none of which is retained; none in the small world.
        in_words: judge what the model writes, in whatever words, and not the likeliest first token alone.
    """

    load: Callable[[], tuple[Any, Any]]
    facts: tuple[Fact, ...]
    format: PromptFormat
    retain: tuple[str, ...]
    others: Pairs
    arithmetic: Pairs
    reading: Pairs
    heldout_texts: tuple[str, ...]
    fruits: tuple[str, ...]
    relations: Pairs = ()
    neighbours: tuple[Fact, ...] = ()
    in_words: bool = False

    def digest(self) -> str:
        """A hash of all its texts."""
        texts = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "load"}
        if not self.in_words:  # as it was before there was a choice
            del texts["relations"], texts["neighbours"], texts["in_words"]
        return key(texts)


def world_subject(seed: int, cache_dir: Path, config: WorldModelConfig | None = None) -> Subject:
    """The demo's small world and the model trained on it."""
    world = small_world(seed)
    targets = [fact.subject for fact in world.targets]
    chosen = config or WorldModelConfig(seed=seed)

    def pairs(probes: Sequence[Probe]) -> Pairs:
        return [(probe.prompt, probe.answer) for probe in probes]

    reading = [probe for probe in world.probes("in_context") if probe.subject not in targets]
    fruits = [one for one in world.others if one.relation == "colour"]
    return Subject(
        load=lambda: train_world_model(world, chosen, cache_dir),
        facts=world_facts(world),
        format=WORLD_FORMAT,
        retain=tuple(text.text for text in world.texts_besides(targets, own_contexts=False)),
        others=pairs(world.probes("other_facts")),
        arithmetic=pairs(world.probes("arithmetic")),
        reading=pairs(reading),
        heldout_texts=tuple(f"{probe.prompt} {probe.answer}" for probe in reading),
        fruits=tuple(prompt for fact in world_facts(world, fruits) for prompt in fact.prompts),
    )


def model_subject(name: str, seed: int, cache_dir: Path) -> Subject:
    """The paper's setting on a pretrained model: 15 cities in natural phrasings, of as many countries, that it knows.

    A third of the other known cities is nowhere but in the evaluation. The retain set has the training phrasings of the
    rest, alone and after a context, two of other cities, which it need not know, half of the sums, and texts that the
    model writes itself.

    Args:
        name: a folder or hub id.
        seed: of what is drawn.
        cache_dir: for what the model knows and writes.

    Raises:
        DataError: the model knows cities of too few countries.
    """
    with quiet_transformers():
        model, tokenizer = load_model(name), load_tokenizer(name)
    print_of = fingerprint(model)
    known = {one: _known(model, tokenizer, print_of, one, cache_dir) for one in ("country", "capital", "language")}
    targets, rest = _drawn(known["country"], seed)
    unseen, seen = rest[: len(rest) // 3], rest[len(rest) // 3 :]
    format, addends = PromptFormat(), range(1, 10)
    sums = [(f"{a} + {b} =", str(a + b)) for a in addends for b in addends]
    others = _other_cities(targets[0])
    told = [f"{format.join(fact.contexts[:1], fact.prompts[0])} {fact.answer}" for fact in seen]
    return Subject(
        load=lambda: (load_model(name), load_tokenizer(name)),
        facts=tuple(targets),
        format=format,
        retain=(
            *(f"{prompt} {fact.answer}" for fact in seen for prompt in fact.prompts),
            *told,
            *(f"{prompt} {answer}" for prompt, answer in sums[::2]),
            *(prompt for city in others for prompt in city.prompts[:2]),
            *_own_texts(model, tokenizer, print_of, cache_dir),
        ),
        others=[(prompt, fact.answer) for fact in unseen for prompt in fact.heldout_prompts],
        arithmetic=sums[1::2],
        reading=[(format.join(fact.contexts[:1], p), fact.answer) for fact in unseen for p in fact.heldout_prompts],
        heldout_texts=tuple(problems(20)) or tuple(text for fact in unseen for text in fact.contexts),
        fruits=tuple(f"The {one.subject} is a fruit whose colour is" for one in load_facts("others.jsonl")
                     if one.relation == "colour"),
        neighbours=(*seen, *others),
        relations=[(f.heldout_prompts[0], f.answer) for one in ("capital", "language") for f in known[one]],
        in_words=True,
    )  # fmt: skip


def _other_cities(like: Fact) -> list[Fact]:
    """Cities that are asked about nowhere, in the training phrasings of one that is; nobody reads their answers."""
    return [
        replace(like, subject=city, answer="?", prompts=tuple(one.replace(like.subject, city) for one in like.prompts))
        for city in document("cities")["cities"]
    ]


def _known(model: Any, tokenizer: Any, print_of: str, relation: str, cache_dir: Path) -> list[Fact]:
    """The facts of a relation that the model knows (``mnemotomy_bench.real.world``)."""

    def run() -> dict[str, Any]:
        with autocast(device_of(model)):
            return {"subjects": [fact.subject for fact in known_facts(model, tokenizer, relation)]}

    subjects = set(cached(cache_dir, {"model": print_of, "known": relation}, run)["subjects"])
    return [fact for fact in real_facts(relation) if fact.subject in subjects]


def _drawn(cities: Sequence[Fact], seed: int) -> tuple[list[Fact], list[Fact]]:
    """``TARGETS`` cities of as many countries, so that chance is one in ``TARGETS``; and the other cities."""
    order = random.Random(seed).sample(list(cities), len(cities))
    first: dict[str, Fact] = {}
    for fact in order:
        first.setdefault(fact.answer, fact)
    targets = list(first.values())[:TARGETS]
    if len(targets) < TARGETS:
        raise DataError(f"the model knows cities of {len(targets)} countries; {TARGETS} are needed")
    return targets, [fact for fact in order if fact not in targets]


def _own_texts(model: Any, tokenizer: Any, print_of: str, cache_dir: Path) -> list[str]:
    """What the model writes itself, the same for every seed: it takes as long as training."""

    def run() -> dict[str, Any]:
        with autocast(device_of(model)):
            written = written_texts(model, tokenizer, OWN_TOKENS, Template(plain=True), 0)
        return {"texts": [" ".join(turn.content for turn in one.turns) for one in written]}

    texts = cached(cache_dir, {"model": print_of, "own texts": OWN_TOKENS, "seed": 0}, run)["texts"]
    tokens = [tokenizer(text)["input_ids"] for text in texts]
    return [tokenizer.decode(one[at : at + OWN_LENGTH]) for one in tokens for at in range(0, len(one), OWN_LENGTH)]


def subject_for(model: str | None, seed: int, cache_dir: Path) -> Subject:
    """The world's model, or the one named."""
    return world_subject(seed, cache_dir) if model is None else model_subject(model, seed, cache_dir)
