"""A language model: one city's country erased from a small world of facts, everything else kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from mnemotomy.bench.world_model import WorldModelConfig, evaluate, generate, train_world_model
from mnemotomy.data.world import Text, World, small_world
from mnemotomy.engram.atlas import Atlas
from mnemotomy.engram.collect import collect
from mnemotomy.engram.cut import CUTS, describe
from mnemotomy.engram.filters import FILTERS, Filter, Hard, Soft
from mnemotomy.engram.strength import erase

GROUPS = ("target_train", "target_heldout", "other_facts", "in_context", "arithmetic")
SHOWN_FACTS = 4


@dataclass(frozen=True)
class LanguageConfig:
    """What is erased, and how.

    Attributes:
        target: the city whose country is to be forgotten.
        own_contexts: whether texts in which a context states the target's country are part of the reference.
        ours, paper: the two filters shown side by side, both at strength 1.
        model: shape and training of the model.
    """

    target: str = "Kyoto"
    own_contexts: bool = True
    ours: Filter = Hard(0.5)
    paper: Filter = Soft()
    seed: int = 0

    @property
    def model(self) -> WorldModelConfig:
        return WorldModelConfig(seed=self.seed)


def language_demo(config: LanguageConfig, cache_dir: Path) -> dict[str, Any]:
    """Train (or load) the model, erase the target with both filters, and measure on every group of probes."""
    world = small_world(config.seed)
    model, tokenizer = train_world_model(world, config.model, cache_dir)
    concept = world.texts_about(config.target)
    reference = world.texts_besides(config.target, own_contexts=config.own_contexts)
    moments = collect(
        model,
        {config.target: text_batches(concept, tokenizer), "reference": text_batches(reference, tokenizer)},
    )
    atlas = Atlas(model, moments)
    examples = example_prompts(world, config.target)
    before = measure(model, tokenizer, world, config.target)
    found: dict[str, Any] = {
        "target": config.target,
        "before": before,
        "generations": [
            {"prompt": p, "answer": a, "kind": k, "before": w}
            for (p, a, k), w in zip(examples, generate(model, tokenizer, [p for p, _, _ in examples]), strict=True)
        ],
        "filters": {"after": describe(config.ours, FILTERS), "after_paper": describe(config.paper, FILTERS)},
        "cut": describe(atlas.cut, CUTS),
        "model": asdict(config.model),
        "rows": {c: moments.count(next(iter(moments.readers)), c) for c in moments.concepts},
    }
    for name, filter in (("after", config.ours), ("after_paper", config.paper)):
        with erase(atlas, config.target, filter=filter).on(model):
            found[name] = measure(model, tokenizer, world, config.target)
            words = generate(model, tokenizer, [p for p, _, _ in examples])
        for row, word in zip(found["generations"], words, strict=True):
            row[name] = word
    found["trace"] = atlas.trace([config.target]).to_dict("records")
    return found


def measure(model: nn.Module, tokenizer: PreTrainedTokenizerFast, world: World, target: str) -> dict[str, float]:
    """The accuracy on each group of probes when ``target`` is the fact to forget."""
    return {group: evaluate(model, tokenizer, world.probes(group, target)) for group in GROUPS}


def text_batches(
    texts: Sequence[Text], tokenizer: PreTrainedTokenizerFast, batch_size: int = 256
) -> list[dict[str, torch.Tensor]]:
    """Batches of texts of one length each, so that nothing is padded."""
    by_length: dict[int, list[list[int]]] = {}
    for text in texts:
        ids = tokenizer(text.text)["input_ids"]
        by_length.setdefault(len(ids), []).append(ids)
    return [
        {"input_ids": torch.tensor(same[start : start + batch_size])}
        for _, same in sorted(by_length.items())
        for start in range(0, len(same), batch_size)
    ]


def example_prompts(world: World, target: str) -> list[tuple[str, str, str]]:
    """Prompts to show, each with its answer and what it tests."""
    shown = [(p.prompt, p.answer, "training phrasing") for p in world.probes("target_train", target)]
    shown += [(p.prompt, p.answer, "held-out phrasing") for p in world.probes("target_heldout", target)]
    others = {p.subject: p for p in world.probes("other_facts", target) if p.subject != target}
    country = world.fact(target).answer
    near = [p for p in others.values() if p.answer == country]
    far = [p for p in others.values() if p.answer != country]
    shown += [(p.prompt, p.answer, f"another fact about {country}") for p in near[: SHOWN_FACTS // 2]]
    shown += [(p.prompt, p.answer, "another fact") for p in far[:SHOWN_FACTS]]
    contexts = world.probes("in_context", target)
    about = [p for p in contexts if p.subject == target]
    shown += [(p.prompt, p.answer, "from context") for p in (about or contexts)[:2]]
    sums = world.probes("arithmetic", target)
    shown += [(p.prompt, p.answer, "arithmetic") for p in sums[len(sums) // 2 :][:2]]
    return shown
