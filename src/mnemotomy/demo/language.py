"""A language model: where one country's cities are is erased from a small world of facts, everything else kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerFast

import mnemotomy as mt
from mnemotomy.demo.world import GROUPS, World, small_world
from mnemotomy.demo.world_model import WorldModelConfig, evaluate, generate, train_world_model

SHOWN = 4


@dataclass(frozen=True)
class LanguageConfig:
    """What is erased, and how.

    Attributes:
        country: whose cities are to be forgotten, one of them among the 15 of the surgical site.
        own_contexts: whether texts in which a context places these cities somewhere are part of the reference.
        ours, paper: the two filters shown side by side, both at strength 1.
        seed: of the world and of the model.
    """

    country: str = "Japan"
    own_contexts: bool = False
    ours: mt.Hard = field(default_factory=mt.Hard)
    paper: mt.Soft = field(default_factory=mt.Soft)
    seed: int = 0

    @property
    def model(self) -> WorldModelConfig:
        """Shape and training of the model."""
        return WorldModelConfig(seed=self.seed)

    def targets(self, world: World) -> list[str]:
        """The cities of the country."""
        return [f.subject for f in world.facts if f.relation == "country" and f.answer == self.country]


def language_demo(config: LanguageConfig, cache_dir: Path) -> dict[str, Any]:
    """Train (or load) the model, erase the targets with both filters, and measure on every group of probes.

    The concept is the targets' facts in the training phrasings. Their other phrasings are in neither set of moments,
    and with the surgical site's city they have not been trained on either.
    """
    world = small_world(config.seed)
    targets = config.targets(world)
    model, tokenizer = train_world_model(world, config.model, cache_dir)
    concept = [f"{probe.prompt} {probe.answer}" for probe in world.probes("target_train", targets)]
    reference = [text.text for text in world.texts_besides(targets, own_contexts=config.own_contexts)]
    texts = {config.country: concept, "reference": reference}
    moments = mt.collect(
        model, {name: mt.batches(tokenizer, some, positions="all", batch_size=256) for name, some in texts.items()}
    )
    atlas = mt.Atlas(model, moments)
    examples = example_prompts(world, targets)
    before = measure(model, tokenizer, world, targets)
    found: dict[str, Any] = {
        "country": config.country,
        "targets": targets,
        "before": before,
        "generations": [
            {"prompt": p, "answer": a, "kind": k, "before": w}
            for (p, a, k), w in zip(examples, generate(model, tokenizer, [p for p, _, _ in examples]), strict=True)
        ],
        "filters": {
            name: atlas.engram(config.country, filter).describe()["filter"]
            for name, filter in (("after", config.ours), ("after_paper", config.paper))
        },
        "cut": atlas[config.country].describe()["cut"],
        "model": asdict(config.model),
        "rows": {c: moments.count(next(iter(moments.readers)), c) for c in moments.concepts},
    }
    for name, filter in (("after", config.ours), ("after_paper", config.paper)):
        with mt.erase(atlas, config.country, filter=filter).on(model):
            found[name] = measure(model, tokenizer, world, targets)
            words = generate(model, tokenizer, [p for p, _, _ in examples])
        for row, word in zip(found["generations"], words, strict=True):
            row[name] = word
    found["trace"] = atlas.trace([config.country]).to_dict("records")
    return found


def measure(
    model: nn.Module, tokenizer: PreTrainedTokenizerFast, world: World, targets: Sequence[str]
) -> dict[str, float]:
    """The accuracy on each group of probes when the facts about ``targets`` are to be forgotten."""
    return {group: evaluate(model, tokenizer, world.probes(group, targets)) for group in GROUPS}


def example_prompts(world: World, targets: Sequence[str]) -> list[tuple[str, str, str]]:
    """Prompts to show, each with its answer and what it tests."""
    site = {fact.subject for fact in world.targets}
    unseen = [p for p in world.probes("target_heldout", targets) if p.subject in site]
    first = {p.subject: p for p in world.probes("target_train", targets)}.values()
    shown = [(p.prompt, p.answer, "erased, training phrasing") for p in first]
    shown += [(p.prompt, p.answer, "erased, held-out phrasing") for p in unseen]
    others = {p.subject: p for p in world.probes("other_facts", targets)}
    shown += [(p.prompt, p.answer, "one of the other 14") for p in others.values() if p.subject in site]
    rest = [p for p in others.values() if p.subject not in site]
    shown += [(p.prompt, p.answer, "another fact") for p in rest[:: max(1, len(rest) // SHOWN)][:SHOWN]]
    contexts = world.probes("in_context", targets)
    about = [p for p in contexts if p.subject in targets]
    shown += [(p.prompt, p.answer, "from context") for p in about[:SHOWN]]
    sums = world.probes("arithmetic", targets)
    return shown + [(p.prompt, p.answer, "arithmetic") for p in sums[len(sums) // 2 :][:SHOWN]]
