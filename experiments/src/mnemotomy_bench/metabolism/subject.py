"""What the bench operates on: a model, the facts to forget, and everything that must be kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mnemotomy.core.keys import key
from mnemotomy.core.models import load_model, load_tokenizer
from mnemotomy.data.fact import Fact, PromptFormat
from mnemotomy.data.fact_templates import CITY_COUNTRY
from mnemotomy.demo.world import Probe, World, load_facts, small_world
from mnemotomy.demo.world_model import WorldModelConfig, train_world_model
from mnemotomy_bench.metabolism.world_facts import WORLD_FORMAT, world_facts

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Subject:
    """A model to treat, loaded afresh for each configuration, and the texts of the bench.

    Attributes:
        load: gives the untreated model and its tokenizer.
        facts: the facts to forget.
        format: how prompts are joined to contexts and answers.
        retain: the retain set, for training.
        others: prompts with answers of facts that are not targeted.
        arithmetic: prompts with answers of small sums.
        reading: prompts with a context about other subjects, and answers.
        heldout_texts: for perplexity, never trained on.
        fruits: prompts about fruits, for Fig. 1.
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

    def digest(self) -> str:
        """A hash of all its texts."""
        texts = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "load"}
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


def model_subject(name: str, device: str = "cpu") -> Subject:
    """The paper's setting on any causal language model: the 15 cities in plain English."""
    world = World(load_facts("cities.jsonl"), load_facts("others.jsonl"), ())
    format = PromptFormat()

    def plain(relation: str, subjects: Sequence[Any]) -> list[Fact]:
        chosen = [Fact(one.subject, one.answer, relation=one.relation) for one in subjects if one.relation == relation]
        return [CITY_COUNTRY.complete(fact) for fact in chosen]

    others, addends = plain("country", world.others), range(1, 10)
    sums = [(f"{a} + {b} =", str(a + b)) for a in addends for b in addends]
    retained, heldout = others[::2], others[1::2]
    fruits = [one.subject for one in world.others if one.relation == "colour"]
    return Subject(
        load=lambda: (load_model(name, device=device), load_tokenizer(name)),
        facts=tuple(plain("country", world.targets)),
        format=format,
        retain=tuple(f"{p} {f.answer}" for f in retained for p in f.prompts) + tuple(f"{p} {a}" for p, a in sums[::2]),
        others=[(p, f.answer) for f in heldout for p in f.heldout_prompts],
        arithmetic=sums[1::2],
        reading=[(format.join(f.contexts[:1], p), f.answer) for f in heldout for p in f.heldout_prompts],
        heldout_texts=tuple(context for fact in heldout for context in fact.contexts),
        fruits=tuple(f"The {fruit} is a fruit whose colour is" for fruit in fruits),
    )


def subject_for(model: str | None, seed: int, cache_dir: Path) -> Subject:
    """The world's model, or the one named."""
    return world_subject(seed, cache_dir) if model is None else model_subject(model)
